// Folded code, meanings of words, snippets of search results. Everything else works without a script.
document.addEventListener("DOMContentLoaded", () => { addFold(); addTips(); watchResults(); });

// "Show all code" on pages where code is folded.
function addFold() {
  const folds = [...document.querySelectorAll("div.cell details.hide")];
  const title = document.querySelector("article h1");
  if (folds.length < 2 || !title) return;
  const button = document.createElement("button");
  const allOpen = () => folds.every((fold) => fold.open);
  const say = () => { button.textContent = allOpen() ? "Hide all code" : "Show all code"; };
  button.type = "button";
  button.className = "fold-all";
  button.addEventListener("click", () => {
    const open = !allOpen();
    folds.forEach((fold) => { fold.open = open; });
    say();
  });
  folds.forEach((fold) => fold.addEventListener("toggle", say));
  say();
  const promise = title.nextElementSibling;
  (promise?.matches("blockquote") ? promise : title).after(button);
}

// The glossary's words on a link to it, by pointer and by keyboard.
function addTips() {
  const links = document.querySelectorAll("a[data-tip]");
  if (!links.length) return;
  const tip = document.body.appendChild(document.createElement("div"));
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  let told = null;
  const hide = () => { tip.hidden = true; };
  const show = (event) => {
    told = event.currentTarget;
    tip.textContent = told.dataset.tip;
    tip.hidden = false;
    move();
  };
  const move = () => {
    if (tip.hidden) return;
    const place = told.getBoundingClientRect();
    const left = Math.min(place.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = place.bottom + tip.offsetHeight + 6 < window.innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? place.bottom + 6 : place.top - tip.offsetHeight - 6}px`;
  };
  links.forEach((link) => {
    link.setAttribute("aria-describedby", "tip");
    link.addEventListener("pointerenter", show);
    link.addEventListener("focus", show);
    link.addEventListener("pointerleave", hide);
    link.addEventListener("blur", hide);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("scroll", move, { passive: true });
}

// Under each search result, where the words stand. The texts come as a script, which a page opened
// from a file may load.
function watchResults() {
  new MutationObserver((changes) => {
    for (const change of changes)
      for (const node of change.addedNodes)
        if (node.matches?.("ul.search > li")) withSnippets(() => addSnippet(node));
  }).observe(document.body, { childList: true, subtree: true });
}

let waiting = null;
function withSnippets(then) {
  if (window.snippets) return then();
  if (waiting) return waiting.push(then);
  waiting = [then];
  const script = document.createElement("script");
  script.src = `${document.documentElement.dataset.content_root}_static/snippets.js`;
  script.onload = () => waiting.forEach((task) => task());
  document.body.append(script);
}

function addSnippet(item) {
  const text = textBehind(item.querySelector("a")?.getAttribute("href") ?? "");
  if (!text || item.querySelector(".snippet")) return;
  const low = text.toLowerCase();
  const stems = searchWords().flatMap((word) => [word, word.slice(0, Math.max(4, word.length - 2))]);
  const stem = stems.find((word) => low.includes(word));
  const at = stem ? low.indexOf(stem) : 0;
  const start = at < 60 ? 0 : text.indexOf(" ", at - 60) + 1;
  const shown = item.appendChild(document.createElement("p"));
  shown.className = "snippet";
  shown.append(start ? "… " : "");
  mark(shown, text.slice(start, at + 140), stem);
  shown.append(at + 140 < text.length ? " …" : "");
}

// A page's text, from the heading or the entry on that the link names.
function textBehind(href) {
  const [path, anchor] = href.split("#");
  const parts = window.snippets[path.replace(/\?.*$/, "").replace(/^(\.\.?\/)+/, "").replace(/\.html$/, "")] ?? [];
  const first = Math.max(0, parts.findIndex(([id]) => id === decodeURIComponent(anchor ?? "")));
  return parts.slice(first).map(([, text]) => text).join(" ");
}

function searchWords() {
  const boxes = [...document.querySelectorAll('input[name="q"]')];
  const words = boxes.map((box) => box.value).find((value) => value) ?? "";
  return words.toLowerCase().split(/[^\p{L}\p{N}_]+/u).filter((word) => word);
}

function mark(place, text, word) {
  let rest = text;
  for (let at; word && (at = rest.toLowerCase().indexOf(word)) >= 0; rest = rest.slice(at + word.length)) {
    place.append(rest.slice(0, at));
    place.appendChild(document.createElement("mark")).textContent = rest.slice(at, at + word.length);
  }
  place.append(rest);
}
