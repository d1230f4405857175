"""Hand the packaging metadata of settings.ini to setuptools."""

from configparser import ConfigParser

from setuptools import setup

parser = ConfigParser(delimiters=["="], interpolation=None)
parser.read("settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]


def lines(key: str) -> list[str]:
    return [line for line in cfg[key].splitlines() if line.strip()]


setup(
    description=cfg["description"],
    author=cfg["author"],
    license=cfg["license"],
    keywords=cfg["keywords"],
    install_requires=lines("requirements"),
    extras_require={extra: lines(f"{extra}_requirements") for extra in ("dev", "words", "cluster")},
    entry_points={"console_scripts": [cfg["console_scripts"]]},
)
