"use strict";
(function () {
  const body = document.body;
  const genres = JSON.parse(body.dataset.genres);
  const items = Array.from(document.querySelectorAll(".item"));
  const byKey = new Map(items.map((item) => [item.dataset.key, item]));
  const filter = document.getElementById("kind");
  const WORDS = { keep: "kept", fix: "fixed", skip: "skipped" };
  const CHOOSE = "choose its genres first";
  let current = null;
  let decisions = read();

  // What the browser refuses to keep, as in a private window, is kept as long as the page is open.
  function read() {
    try {
      const found = JSON.parse(localStorage.getItem(body.dataset.state) || "{}");
      return found && typeof found === "object" ? found : {};
    } catch (error) {
      return {};
    }
  }

  function write() {
    try {
      localStorage.setItem(body.dataset.state, JSON.stringify(decisions));
    } catch (error) {
      return;
    }
  }

  function buttons(item) {
    return Array.from(item.querySelectorAll(".genre"));
  }

  function columns(item, marked) {
    return buttons(item).filter(marked).map((button) => Number(button.dataset.column));
  }

  const given = (button) => button.dataset.given === "1";
  const suggested = (button) => button.dataset.suggested === "1";
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";

  function press(item, wanted) {
    for (const button of buttons(item)) {
      button.setAttribute("aria-pressed", String(wanted.includes(Number(button.dataset.column))));
    }
  }

  function show(item) {
    const made = decisions[item.dataset.key];
    const action = made && Object.hasOwn(WORDS, made.action) ? made.action : null;
    if (action === "fix" && Array.isArray(made.genres)) {
      press(item, made.genres);
      if (buttons(item).some((button) => button.classList.contains("folded") && pressed(button) !== given(button))) {
        item.classList.add("open");
      }
    }
    item.classList.toggle("done", action !== null);
    item.querySelector(".decided").textContent = action === null ? "" : WORDS[action];
    for (const button of item.querySelectorAll("[data-action]")) {
      button.setAttribute("aria-pressed", String(button.dataset.action === action));
    }
  }

  function count() {
    const made = items.map((item) => decisions[item.dataset.key]).filter(Boolean);
    const fixes = made.filter((one) => one.action === "fix").length;
    document.getElementById("count").textContent =
      made.length + " of " + items.length + " decided, " + fixes + " to fix";
  }

  function visible() {
    return items.filter((item) => !item.hidden);
  }

  function go(item) {
    if (current) current.classList.remove("current");
    current = item || null;
    if (!current) return;
    current.classList.add("current");
    current.focus({ preventScroll: true });
    current.scrollIntoView({ block: "start" });
  }

  function step(by) {
    const shown = visible();
    const at = shown.indexOf(current);
    go(shown[Math.min(Math.max(at + by, 0), shown.length - 1)]);
  }

  function next(item) {
    const shown = visible();
    const behind = shown.slice(shown.indexOf(item) + 1);
    go(behind.find((other) => !decisions[other.dataset.key]) || behind[0] || item);
  }

  function decide(item, action) {
    const made = { action: action };
    if (action === "fix") {
      const before = columns(item, given).join();
      let wanted = columns(item, pressed);
      if (wanted.join() === before) wanted = columns(item, suggested);
      // Nothing is suggested, or nothing would be left: the reader chooses first.
      if (wanted.join() === before || wanted.length === 0) {
        item.classList.add("open");
        item.querySelector(".decided").textContent = CHOOSE;
        go(item);
        return;
      }
      made.genres = wanted;
    } else {
      press(item, columns(item, given));
    }
    decisions[item.dataset.key] = made;
    write();
    show(item);
    count();
    next(item);
  }

  function toggle(item, button) {
    button.setAttribute("aria-pressed", String(!pressed(button)));
    const wanted = columns(item, pressed);
    if (wanted.length === 0 || wanted.join() === columns(item, given).join()) delete decisions[item.dataset.key];
    else decisions[item.dataset.key] = { action: "fix", genres: wanted };
    write();
    show(item);
    if (wanted.length === 0) item.querySelector(".decided").textContent = CHOOSE;
    count();
  }

  // As mmposter writes its tables: a cell that a spreadsheet would run has a single quote before it.
  function cell(text) {
    const formula = /^[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\s"']*[\t\r\n\0]/.test(text);
    const number = /^([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan))$/.test(text);
    return '"' + (formula && !number ? "'" + text : text).replaceAll('"', '""') + '"';
  }

  // A name with a sign that parts names is written in a list.
  function named(places) {
    const names = places.map((place) => genres[place]);
    return names.some((name) => /[|;,[\](){}'"]/.test(name)) ? JSON.stringify(names) : names.join("|");
  }

  function table() {
    const lines = [["id", "source", "action", "add", "remove"]];
    for (const [key, made] of Object.entries(decisions)) {
      const item = byKey.get(key);
      if (!item || (made.action !== "keep" && made.action !== "fix")) continue;
      const had = columns(item, given);
      const wanted = made.action === "fix" && Array.isArray(made.genres) ? made.genres : had;
      const [id, source] = JSON.parse(key);
      const add = wanted.filter((place) => !had.includes(place));
      const remove = had.filter((place) => !wanted.includes(place));
      lines.push([id, source, made.action, named(add), named(remove)]);
    }
    return lines.map((line) => line.map(cell).join(",") + "\r\n").join("");
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv;charset=utf-8" }));
    link.download = body.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  filter.addEventListener("change", () => {
    for (const item of items) {
      const kind = filter.value;
      const meant = kind === "?" ? !decisions[item.dataset.key] : !kind || item.dataset.kinds.split(" ").includes(kind);
      item.hidden = !meant;
    }
    go(visible()[0]);
  });
  document.getElementById("download").addEventListener("click", download);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const item = event.target.closest(".item");
    if (!item || !button) return;
    if (button.dataset.action) decide(item, button.dataset.action);
    else if (button.classList.contains("more")) item.classList.add("open");
    else toggle(item, button);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input, textarea")) return;
    const action = { k: "keep", f: "fix", s: "skip" }[event.key.toLowerCase()];
    if (action) decide(current || visible()[0], action);
    else if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else return;
    event.preventDefault();
  });
  for (const item of items) {
    for (const button of buttons(item)) button.classList.toggle("suggestion", given(button) !== suggested(button));
    show(item);
  }
  count();
  current = items.find((item) => !decisions[item.dataset.key]) || items[0] || null;
  if (current) current.classList.add("current");
})();
