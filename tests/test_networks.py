"""TabPFN from a weights file to predictions, on tiny networks of its build with random weights.

What these predict means nothing."""

import importlib.util
import shutil

import numpy as np
import pytest
from tiny_tabpfn import make_weights

from musicnb.book.cli import main
from musicnb.core import UserError
from musicnb.models import tabular
from musicnb.models.tabular import WEIGHTS, TabPFNClassifier, TabPFNRegressor, find_tabpfn_weights

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tabpfn") is None, reason="TabPFN is not installed"
)
RNG = np.random.default_rng(1)
X = RNG.normal(size=(60, 4))
Y = X[:, 0] + RNG.normal(size=60)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with both files under their official names."""
    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def known(weights, monkeypatch):
    monkeypatch.setenv("TABPFN_MODEL_CACHE_DIR", str(weights))
    return weights


def test_regressor_takes_the_weights_where_they_are(known):
    assert find_tabpfn_weights("regressor") == known / WEIGHTS["regressor"]
    model = TabPFNRegressor(n_estimators=1).fit(X[:40], Y[:40])
    predicted = model.predict(X[40:])
    assert predicted.shape == (20,) and np.isfinite(predicted).all()
    again = TabPFNRegressor(n_estimators=1).fit(X[:40], Y[:40])
    assert np.array_equal(again.predict(X[40:]), predicted), "the same seed, the same predictions"


def test_the_unit_of_the_target_does_not_matter(known):
    small, large = (
        TabPFNRegressor(n_estimators=1).fit(X[:40], unit * Y[:40]).predict(X[40:])
        for unit in (1, 1e8)
    )
    assert np.allclose(large / 1e8, small, rtol=1e-2, atol=1e-2)


def test_classifier(known):
    labels = np.where(Y > 0, "hit", "miss")
    model = TabPFNClassifier(n_estimators=1).fit(X[:40], labels[:40])
    shares = model.predict_proba(X[40:])
    assert list(model.classes_) == ["hit", "miss"] and shares.shape == (20, 2)
    assert np.allclose(shares.sum(axis=1), 1) and set(model.predict(X[40:])) <= {"hit", "miss"}


def test_empty_cells_are_taken(known):
    gaps = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
    assert np.isfinite(
        TabPFNRegressor(n_estimators=1).fit(gaps[:40], Y[:40]).predict(gaps[40:])
    ).all()


@pytest.mark.parametrize("kind, other", [("regressor", "classifier"), ("classifier", "regressor")])
def test_weights_of_the_other_kind(weights, kind, other):
    model = {"regressor": TabPFNRegressor, "classifier": TabPFNClassifier}[kind](
        str(weights / WEIGHTS[other])
    )
    with pytest.raises(UserError) as caught:
        model.fit(X, Y > 0 if kind == "classifier" else Y)
    assert (
        WEIGHTS[other] in str(caught.value)
        and f"TabPFN {kind}" in str(caught.value)
        or f"those of a {kind}" in str(caught.value)
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>gated</html>", b"PK\x03\x04 half a file"])
def test_a_file_that_holds_no_weights(tmp_path, content):
    path = tmp_path / "broken.ckpt"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match="broken.ckpt cannot be read as the weights of a TabPFN regressor"
    ) as caught:
        TabPFNRegressor(str(path)).fit(X, Y)
    assert "\n" not in str(caught.value)


def test_no_weights_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("TABPFN_MODEL_CACHE_DIR", str(tmp_path))
    with pytest.raises(UserError, match=f"no weights file {WEIGHTS['regressor']} in "):
        TabPFNRegressor().fit(X, Y)
    assert not list(tmp_path.iterdir()), "nothing was fetched"


@pytest.fixture
def hub(weights, tmp_path, monkeypatch):
    """A stand-in for the download: the tiny networks, and an empty folder for them."""
    from tabpfn import model_loading

    asked = []

    def download(to, *, version, which, model_name):
        asked.append(model_name)
        shutil.copyfile(weights / model_name, to)
        return "ok"

    monkeypatch.setenv("TABPFN_MODEL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tabular, "_weights_size", lambda kind: 29_000_000)
    monkeypatch.setattr(model_loading, "download_model", download)
    return asked


def fetch(capsys) -> tuple[int, list[str], list[str]]:  # exit code, lines of both streams
    with pytest.raises(SystemExit) as end:
        main(["data", "fetch", "tabpfn"])
    said = capsys.readouterr()
    return end.value.code, said.out.splitlines(), said.err.splitlines()


def test_fetched_weights_run_the_rows_that_were_not_run(hub, tmp_path, capsys):
    from musicnb.core import NotRun
    from musicnb.studies.genre_models import tabpfn_classifier
    from musicnb.studies.youtube_classes import find_tabpfn

    assert isinstance(tabpfn_classifier(), NotRun) and isinstance(find_tabpfn(), NotRun)
    code, out, err = fetch(capsys)
    assert code == 0 and hub == list(WEIGHTS.values())
    assert out == [str(tmp_path / "cache" / name) for name in WEIGHTS.values()]
    assert "29 MB" in err[0] and "attribution" in err[0], "size and licence are told first"
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == sorted(WEIGHTS.values())
    labels = np.where(Y > 0, "hit", "miss")
    assert set(find_tabpfn().fit(X[:40], labels[:40]).predict(X[40:])) <= {"hit", "miss"}
    assert not isinstance(tabpfn_classifier(), NotRun)
    assert fetch(capsys)[0] == 0 and len(hub) == 2, "what is there is not fetched again"


@pytest.mark.parametrize("fault", ["no network", "half a file"])
def test_weights_that_do_not_come(hub, tmp_path, monkeypatch, capsys, fault):
    from tabpfn import model_loading

    def download(to, **_):
        to.write_bytes(b"PK half a file")
        return [TimeoutError("no route")] if fault == "no network" else "ok"

    monkeypatch.setattr(model_loading, "download_model", download)
    code, out, err = fetch(capsys)
    assert (code, out) == (2, []) and not list((tmp_path / "cache").iterdir())
    assert ("a network that reaches" if fault == "no network" else "cannot be read") in err[-1]
