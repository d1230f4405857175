// Theme, "show all code", contents, saving, search. What is to be read stands on the page without a script.
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

  // A map or scatter plot of named points: find one by name, point at it, click, or go from one to the next with the arrow keys.
  // Paper and pages without a script show the drawing.
  const palette = ["blue", "vermillion", "green", "orange", "purple", "sky"];
  const make = (tag, parent, text = "") => { const made = document.createElement(tag); made.textContent = text; parent.append(made); return made; };
  const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);

  function songMap(box) {
    const points = JSON.parse(box.dataset.points), size = points.names.length, axes = points.axes;
    delete box.dataset.points;
    const folded = points.names.map((name) => name.toLowerCase());
    const edge = axes ? { left: 58, right: 16, top: 12, bottom: 44 } : { left: 12, right: 12, top: 12, bottom: 12 };
    let chosen = -1, pointed = -1;

    const search = make("input", make("label", box, "Find: "));
    search.type = "search";
    search.placeholder = "artist or title";
    const matches = make("ul", box), canvas = make("canvas", box), legend = make("ul", box), near = make("div", box);
    box.classList.toggle("scatter", Boolean(axes));
    matches.className = "matches";
    legend.className = "groups";
    near.setAttribute("aria-live", "polite");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${axes ? "Scatter plot" : "Map"} of ${size} points; the search above finds each by name, arrow keys lead from one to the next`);
    if (points.note) make("p", near, points.note);

    const entry = (sign, colour, name) => {
      const line = make("li", legend), mark = make("b", line, sign);
      mark.style.color = `var(--fig-${colour})`;
      line.append(` ${name}`);
      return mark;
    };
    const marks = points.groups.map((name, group) => entry(group < 6 ? "●" : "■", palette[group % 6], name));
    const lines = (points.lines || []).map((line) => ({ ...line, mark: entry(line.dashed ? "╌" : "━", line.colour, line.name) }));
    const across = (x) => edge.left + x / 1000 * (canvas.clientWidth - edge.left - edge.right);
    const down = (y) => edge.top + y / 1000 * (canvas.clientHeight - edge.top - edge.bottom);
    const place = (i) => [across(points.x[i]), down(points.y[i])];
    const shape = (pen, group, x, y, r) => {
      pen.beginPath();
      if (group < 6) pen.arc(x, y, r, 0, 7); else pen.rect(x - r, y - r, 2 * r, 2 * r);
    };

    function frame(pen, look) {
      const [left, right, top, bottom] = [across(0), across(1000), down(0), down(1000)];
      const stroke = (x0, y0, x1, y1) => { pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x1, y1); pen.stroke(); };
      pen.strokeStyle = look.borderTopColor;
      pen.fillStyle = look.color;
      pen.textBaseline = "top";
      pen.textAlign = "center";
      let free = -Infinity;
      for (const [x, text] of axes.x.ticks) {
        stroke(across(x), top, across(x), bottom);
        const half = pen.measureText(text).width / 2;
        if (across(x) - half < free) continue;
        pen.fillText(text, across(x), bottom + 6);
        free = across(x) + half + 8;
      }
      pen.fillText(axes.x.label, (left + right) / 2, bottom + 24);
      pen.textBaseline = "middle";
      pen.textAlign = "right";
      for (const [y, text] of axes.y.ticks) { stroke(left, down(y), right, down(y)); pen.fillText(text, left - 6, down(y)); }
      pen.textAlign = "left";
      pen.fillText(axes.y.label, left + 6, top + 2);
      pen.lineWidth = 2;
      for (const line of lines) {
        pen.strokeStyle = getComputedStyle(line.mark).color;
        pen.setLineDash(line.dashed ? [6, 4] : []);
        stroke(across(line.x[0]), down(line.y[0]), across(line.x[1]), down(line.y[1]));
      }
      pen.setLineDash([]);
      pen.lineWidth = 1;
    }

    // Names on the canvas, each where it covers no other.
    function write(pen, look, i, taken) {
      const text = short(points.names[i], 36), [x, y] = place(i), wide = pen.measureText(text).width + 8;
      const left = x + 10 + wide > canvas.clientWidth ? Math.max(x - 10 - wide, 2) : x + 10;
      for (const move of [0, -14, 14]) {
        const put = { left, right: left + wide, top: y + move - 9, bottom: y + move + 9 };
        if (taken.some((one) => one.left < put.right && put.left < one.right && one.top < put.bottom && put.top < one.bottom)) continue;
        taken.push(put);
        pen.globalAlpha = 0.85;
        pen.fillStyle = look.backgroundColor;
        pen.fillRect(put.left, put.top, wide, 18);
        pen.globalAlpha = 1;
        pen.fillStyle = look.color;
        pen.textAlign = "left";
        pen.textBaseline = "middle";
        pen.fillText(text, put.left + 4, y + move);
        return;
      }
    }

    function draw() {
      const { clientWidth: wide, clientHeight: high } = canvas, dense = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
      if (!wide) return;
      canvas.width = wide * dense;
      canvas.height = high * dense;
      pen.scale(dense, dense);
      const look = getComputedStyle(canvas), colours = marks.map((mark) => getComputedStyle(mark).color);
      pen.font = `12px ${look.fontFamily}`;
      if (axes) frame(pen, look);
      pen.globalAlpha = chosen < 0 ? 0.6 : 0.3;
      for (let i = 0; i < size; i += 1) {
        pen.fillStyle = colours[points.group[i]];
        shape(pen, points.group[i], ...place(i), 2);
        pen.fill();
      }
      pen.globalAlpha = 1;
      pen.strokeStyle = look.color;
      const told = [pointed, chosen].filter((i) => i >= 0);
      for (const i of [...(chosen < 0 || !points.near ? [] : points.near[chosen]), ...told]) {
        pen.fillStyle = colours[points.group[i]];
        shape(pen, points.group[i], ...place(i), told.includes(i) ? 7 : 4.5);
        pen.fill();
        pen.stroke();
      }
      const taken = [];
      for (const i of new Set([...told, ...(wide < 560 ? [] : points.marked || [])])) write(pen, look, i, taken);
    }

    const about = (i) => (points.said ? points.said[i] : points.groups[points.group[i]]);
    const button = (list, i) => {
      const made = make("button", make("li", list), `${points.names[i]} · ${about(i)}`);
      made.type = "button";
      made.addEventListener("click", () => choose(i));
    };
    function choose(i) {
      chosen = i;
      pointed = -1;
      near.replaceChildren();
      matches.replaceChildren();
      make("p", near, points.near ? `Nearest to ${points.names[i]} (${about(i)}) by all features:` : `${points.names[i]}: ${about(i)}`);
      if (points.near) { const list = make("ol", near); for (const j of points.near[i]) button(list, j); }
      draw();
    }
    search.addEventListener("input", () => {
      const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      matches.replaceChildren();
      if (!words.length) return;
      const found = folded.flatMap((name, i) => (words.every((word) => name.includes(word)) ? [i] : []));
      for (const i of found.slice(0, 8)) button(matches, i);
      make("li", matches, found.length > 8 ? `and ${found.length - 8} more` : found.length ? "" : "No song here has that in its name.");
    });
    const nearest = (x, y, most, fits = () => true) => {
      let best = -1, least = most ** 2;
      for (let i = 0; i < size; i += 1) {
        const [px, py] = place(i), far = (px - x) ** 2 + (py - y) ** 2;
        if (far < least && fits(px - x, py - y)) [best, least] = [i, far];
      }
      return best;
    };
    canvas.addEventListener("click", (event) => {
      const found = nearest(event.offsetX, event.offsetY, 20);
      if (found >= 0) choose(found);
    });
    const point = (i) => { if (i !== pointed) { pointed = i; requestAnimationFrame(draw); } };
    canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") point(nearest(event.offsetX, event.offsetY, 14)); });
    canvas.addEventListener("pointerleave", () => point(-1));
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    canvas.addEventListener("keydown", (event) => {
      const way = ways[event.key];
      if (!way) return;
      event.preventDefault();
      const from = chosen >= 0 ? place(chosen) : [canvas.clientWidth / 2, canvas.clientHeight / 2];
      const ahead = (dx, dy) => dx * way[0] + dy * way[1] > Math.max(1, Math.abs(dx * way[1] - dy * way[0]));
      const next = nearest(...from, Infinity, ahead);
      if (next >= 0) choose(next);
    });

    box.hidden = false;
    for (const drawn of box.closest("figure").querySelectorAll(".scroll")) drawn.hidden = true;
    new ResizeObserver(draw).observe(canvas);
    new MutationObserver(draw).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  // Only what scrolls takes focus, and says so.
  function scroller(box) {
    const wide = () => box.scrollWidth > box.clientWidth + 1;
    box.classList.remove("scrolls", "tight");
    if (wide()) box.classList.add("tight");
    const over = wide();
    box.classList.toggle("scrolls", over);
    if (!over) { for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name); return; }
    const caption = box.closest("figure")?.querySelector("figcaption");
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", caption ? caption.textContent.replace(/#$/, "") : box.querySelector("svg") ? "Figure" : "Table");
  }

  // Figures as SVG and PNG, tables as CSV.
  const save = (name, blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const drawing = (svg) => {
    const copy = svg.cloneNode(true), box = svg.viewBox.baseVal;
    copy.setAttribute("width", box.width * 4 / 3);
    copy.setAttribute("height", box.height * 4 / 3);
    copy.setAttribute("font-family", "sans-serif");
    const text = new XMLSerializer().serializeToString(copy);
    return text.replace(/var\(--fig-paper, ?#[0-9a-f]{6}\)/gi, "#ffffff").replace(/var\(--[\w-]+, ?(#[0-9a-f]{6})\)/gi, "$1");
  };
  function savePng(svg, name) {
    const picture = new Image(), canvas = document.createElement("canvas");
    picture.onload = () => {
      canvas.width = picture.width * 2;
      canvas.height = picture.height * 2;
      const pen = canvas.getContext("2d");
      pen.fillStyle = "#ffffff";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(`${name}.png`, blob));
    };
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(drawing(svg))}`;
  }
  const csv = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => {
    const text = cell.textContent.trim();
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }).join(",")).join("\r\n");
  function tools(figure) {
    const svg = figure.querySelector("svg"), tables = figure.querySelectorAll("table");
    const page = location.pathname.split("/").pop().replace(/\.html$/, "") || "page";
    const name = `${page}-${figure.id || "figure"}`;
    if (!svg && !tables.length) return;
    const bar = document.createElement("p");
    bar.className = "tools";
    const offer = (word, act) => {
      const button = make("button", bar, word);
      button.type = "button";
      button.setAttribute("aria-label", `Save as ${word}`);
      button.addEventListener("click", act);
    };
    if (svg) {
      offer("SVG", () => save(`${name}.svg`, new Blob([drawing(svg)], { type: "image/svg+xml" })));
      offer("PNG", () => savePng(svg, name));
    } else {
      offer("CSV", () => save(`${name}.csv`, new Blob([[...tables].map(csv).join("\r\n\r\n")], { type: "text/csv" })));
    }
    figure.insertBefore(bar, figure.querySelector(".words"));
  }

  // On a narrow screen the panels of a figure that has no narrow drawing stand below each other. What stands beside a panel goes with it (the scale of
  // its colours), what stands above or below all panels stays there (a legend).
  function stack(svg) {
    const drawn = svg.querySelector(":scope > g");
    if (!drawn || svg.classList.contains("stacked")) return;
    const parts = [...drawn.children].filter((part) => part.tagName === "g").slice(1);
    const boxes = parts.map((part) => part.getBBox()), wide = svg.viewBox.baseVal.width;
    const panels = boxes.filter((box) => box.width > 60 && box.height > 50 && box.width < 0.62 * wide);
    if (panels.length < 2) return;
    const top = Math.min(...panels.map((box) => box.y)), end = (box) => box.y + box.height;
    const bottom = Math.max(...panels.map(end));
    const beside = (box) => panels.findLast((one) => one.x < box.x && one.y < end(box) && box.y < end(one));
    const rows = new Map();  // from a box to the parts that move as one: head, panels, foot
    boxes.forEach((box, i) => {
      const lead = panels.includes(box) ? box : end(box) <= top + 2 || box.y >= bottom - 2 ? box : beside(box) || box;
      rows.set(lead, [...(rows.get(lead) || []), i]);
    });
    const order = (box) => (end(box) <= top + 2 ? 0 : panels.includes(box) ? 1 : 2);
    const gap = 8;
    let y = 2, width = 0;
    for (const [lead, members] of [...rows].sort(([a], [b]) => order(a) - order(b))) {
      const all = members.map((i) => boxes[i]), up = Math.min(...all.map((box) => box.y));
      for (const i of members) parts[i].setAttribute("transform", `translate(${-lead.x} ${y - up})`);
      width = Math.max(width, ...all.map((box) => box.x + box.width - lead.x));
      y += Math.max(...all.map(end)) - up + gap;
    }
    svg.setAttribute("viewBox", `-2 0 ${width + 4} ${y}`);
    svg.setAttribute("width", (width + 4) * 4 / 3);
    svg.classList.add("stacked");
  }

  // A drawing shrinks to the screen as far as its letters stay at 11 pixels; what is wider scrolls.
  function letters(svg) {
    const sizes = [...svg.querySelectorAll("text")].map((text) => {
      const { a, b } = text.getCTM();
      return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
    });
    const box = svg.viewBox.baseVal, shown = (box && box.width) * svg.getScreenCTM().a;  // without empty margins
    if (sizes.length && shown) svg.style.minWidth = `${Math.ceil(shown * 11.02 / Math.min(...sizes))}px`;
    svg.classList.add("fitted");
  }

  // The index: headings, findings and published figures by word and by filter.
  function search(section) {
    const input = section.querySelector("input"), selects = [...section.querySelectorAll("select")];
    const lines = [...section.querySelectorAll("li")], count = section.querySelector(".note");
    const texts = lines.map((line) => line.textContent.toLowerCase());
    section.hidden = false;
    const look = () => {
      const words = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = selects.filter((select) => select.value);
      const asked = words.length || chosen.length;
      let found = 0;
      lines.forEach((line, i) => {
        const fits = asked && words.every((word) => texts[i].includes(word)) && chosen.every((s) => line.dataset[s.dataset.filter] === s.value);
        if (fits) found += 1;
        line.hidden = !fits || found > 100;
      });
      count.textContent = asked ? `${found} found${found > 100 ? ", the first 100 are shown" : ""}` : "";
    };
    input.addEventListener("input", look);
    for (const select of selects) select.addEventListener("change", look);
    look();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const find = (name, then) => { const element = document.querySelector(name); if (element) then(element); };
    find("#theme", themeSwitch);
    find("#code", codeSwitch);
    find(".toc", contents);
    find("#search", search);
    document.querySelectorAll(".song-map").forEach(songMap);
    if (window.matchMedia("(max-width: 40rem)").matches) {
      for (const svg of document.querySelectorAll(".scroll:not(.wide, .narrow) > svg")) stack(svg);
      for (const svg of document.querySelectorAll(".scroll > svg")) letters(svg);
    }
    if (window.innerWidth < 640) for (const svg of document.querySelectorAll(".study .chart > svg")) letters(svg);
    document.querySelectorAll(".figure").forEach(tools);
    const boxes = [...document.querySelectorAll(".scroll, pre")];
    const watch = new ResizeObserver((seen) => seen.forEach((one) => scroller(one.target)));
    for (const box of boxes) watch.observe(box);
  });
})();
