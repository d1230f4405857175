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

  // A map of named points: search, click, and the neighbours of the chosen one. The static drawing stays without a script.
  const palette = ["blue", "vermillion", "green", "orange", "purple", "sky"];
  const make = (tag, parent, text = "") => { const made = document.createElement(tag); made.textContent = text; parent.append(made); return made; };

  function songMap(box) {
    const points = JSON.parse(box.dataset.points), size = points.names.length;
    delete box.dataset.points;
    const folded = points.names.map((name) => name.toLowerCase());
    let chosen = -1;

    const search = make("input", make("label", box, "Find: "));
    search.type = "search";
    search.placeholder = "artist or title";
    const matches = make("ul", box), canvas = make("canvas", box), legend = make("ul", box), near = make("div", box);
    matches.className = "matches";
    legend.className = "groups";
    near.setAttribute("aria-live", "polite");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Map of ${size} points; the search above finds each of them by name`);

    const marks = points.groups.map((name, group) => {
      const line = make("li", legend), mark = make("b", line, group < 6 ? "●" : "■");
      mark.style.color = `var(--fig-${palette[group % 6]})`;
      line.append(` ${name}`);
      return mark;
    });
    const place = (i, side) => [12 + points.x[i] / 1000 * (side - 24), 12 + points.y[i] / 1000 * (side - 24)];
    const shape = (pen, group, x, y, r) => {
      pen.beginPath();
      if (group < 6) pen.arc(x, y, r, 0, 7); else pen.rect(x - r, y - r, 2 * r, 2 * r);
    };

    function draw() {
      const side = canvas.clientWidth, dense = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
      if (!side) return;
      canvas.width = canvas.height = side * dense;
      pen.scale(dense, dense);
      const colours = marks.map((mark) => getComputedStyle(mark).color), around = chosen < 0 ? [] : points.near[chosen];
      pen.globalAlpha = chosen < 0 ? 0.6 : 0.25;
      for (let i = 0; i < size; i += 1) {
        pen.fillStyle = colours[points.group[i]];
        shape(pen, points.group[i], ...place(i, side), 2);
        pen.fill();
      }
      pen.globalAlpha = 1;
      pen.strokeStyle = getComputedStyle(canvas).color;
      for (const i of around.concat(chosen < 0 ? [] : chosen)) {
        pen.fillStyle = colours[points.group[i]];
        shape(pen, points.group[i], ...place(i, side), i === chosen ? 7 : 4.5);
        pen.fill();
        pen.stroke();
      }
    }

    const button = (list, i) => {
      const made = make("button", make("li", list), `${points.names[i]} · ${points.groups[points.group[i]]}`);
      made.type = "button";
      made.addEventListener("click", () => choose(i));
    };
    function choose(i) {
      chosen = i;
      near.replaceChildren();
      matches.replaceChildren();
      make("p", near, `Nearest to ${points.names[i]} (${points.groups[points.group[i]]}) by all features:`);
      const list = make("ol", near);
      for (const j of points.near[i]) button(list, j);
      draw();
    }
    search.addEventListener("input", () => {
      const words = search.value.trim().toLowerCase();
      matches.replaceChildren();
      if (!words) return;
      const found = folded.flatMap((name, i) => (name.includes(words) ? [i] : []));
      for (const i of found.slice(0, 8)) button(matches, i);
      make("li", matches, found.length > 8 ? `and ${found.length - 8} more` : found.length ? "" : "No song on this map has that in its name.");
    });
    canvas.addEventListener("click", (event) => {
      const side = canvas.clientWidth;
      let best = 0, least = Infinity;
      for (let i = 0; i < size; i += 1) {
        const [x, y] = place(i, side), far = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
        if (far < least) [best, least] = [i, far];
      }
      if (least < 400) choose(best);
    });

    box.hidden = false;
    box.closest("figure").querySelector(".scroll").hidden = true;
    new ResizeObserver(draw).observe(canvas);
    new MutationObserver(draw).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const find = (name, then) => { const element = document.querySelector(name); if (element) then(element); };
    find("#theme", themeSwitch);
    find("#code", codeSwitch);
    find(".toc", contents);
    document.querySelectorAll(".song-map").forEach(songMap);
  });
})();
