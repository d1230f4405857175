// Theme, "show all code" and the contents list. Everything else on the page works without a script.
(() => {
  "use strict";
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const keys = ["mode", "theme"];  // where the docs site keeps the choice: made once, it holds in both
  const recall = () => { try { return localStorage.getItem(keys[0]); } catch { return null; } };
  const remember = (theme) => { try { for (const key of keys) localStorage.setItem(key, theme); } catch { /* private window */ } };
  let theme = themes.includes(recall()) ? recall() : "auto";
  root.dataset.theme = theme;  // before the first paint: this script stands in the head

  function themeSwitch(button) {
    const label = () => { button.textContent = `Theme: ${theme}`; };
    button.hidden = false;
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      root.dataset.theme = theme;
      remember(theme);
      label();
    });
    label();
  }

  function codeSwitch(button) {
    const cells = [...document.querySelectorAll("details.code")];
    if (!cells.length) return;
    const allOpen = () => cells.every((cell) => cell.open);
    const label = () => {
      button.textContent = allOpen() ? "Hide all code" : "Show all code";
      button.setAttribute("aria-pressed", String(allOpen()));
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      const open = !allOpen();
      for (const cell of cells) cell.open = open;
      label();
    });
    for (const cell of cells) cell.addEventListener("toggle", label);
    label();
  }

  function contents(nav) {
    const links = [...nav.querySelectorAll("a")];
    const heads = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
    const mark = () => {
      const end = window.innerHeight + window.scrollY >= root.scrollHeight - 2 && window.scrollY > 0;
      let now = end ? links.length - 1 : -1;
      if (!end) heads.forEach((head, i) => { if (head && head.getBoundingClientRect().top < 120) now = i; });
      links.forEach((link, i) => {
        if (i === now) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
      });
      if (now >= 0 && !narrow.matches) {
        const link = links[now], top = link.offsetTop;
        if (top < nav.scrollTop || top > nav.scrollTop + nav.clientHeight - 60) nav.scrollTop = top - nav.clientHeight / 2;
      }
    };
    const list = nav.querySelector("details");
    const narrow = window.matchMedia("(max-width: 64rem)");
    const fold = () => { list.open = !narrow.matches; };
    narrow.addEventListener("change", fold);
    fold();
    let waiting = false;
    window.addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; mark(); });
    }, { passive: true });
    mark();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const find = (name, then) => { const element = document.querySelector(name); if (element) then(element); };
    find("#theme", themeSwitch);
    find("#code", codeSwitch);
    find(".toc", contents);
  });
})();
