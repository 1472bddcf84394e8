"use strict";

const SHOWN = 200; // nodes of a level, and paths of a search
const RANGES = ["15min", "1h", "6h", "1d", "7d", "1mon", "1y"];
const FIELDS = ["from", "until", "title", "areaMode"];
const at = (id) => document.getElementById(id);
let timer = 0;

async function answer(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

function complain(error) {
  at("message").textContent = error ? String(error.message || error) : "";
}

function item(text, kind, title, onclick) {
  const li = document.createElement("li");
  const button = document.createElement("button");
  li.className = kind;
  button.type = "button";
  button.textContent = text;
  button.title = title;
  button.addEventListener("click", onclick);
  li.append(button);
  return li;
}

function rest(list, count) {
  if (count <= SHOWN) return;
  const li = document.createElement("li");
  li.textContent = `${count - SHOWN} more: search for them`;
  list.append(li);
}

async function level(list, prefix) {
  const nodes = await answer(`/metrics/find?query=${encodeURIComponent(prefix + "*")}`);
  for (const node of nodes.slice(0, SHOWN)) list.append(node.leaf ? leaf(node.text, node.id) : branch(node));
  rest(list, nodes.length);
}

function leaf(text, path) {
  return item(text, "leaf", path, () => add(path));
}

function branch(node) {
  const li = item(node.text, "branch", node.id, async () => {
    const children = li.querySelector("ul");
    const open = li.classList.toggle("open");
    li.firstChild.setAttribute("aria-expanded", open);
    if (children) {
      children.hidden = !open;
      return;
    }
    const list = document.createElement("ul");
    li.append(list);
    try {
      await level(list, node.id + ".");
    } catch (error) {
      list.remove();
      li.classList.remove("open");
      complain(error);
    }
  });
  li.firstChild.setAttribute("aria-expanded", false);
  return li;
}

async function search() {
  const pattern = at("pattern").value.trim();
  const tree = at("tree");
  tree.replaceChildren();
  complain("");
  try {
    if (!pattern) return await level(tree, "");
    const found = await answer(`/metrics/expand?leavesOnly=1&query=${encodeURIComponent(pattern)}`);
    for (const path of found.results.slice(0, SHOWN)) tree.append(leaf(path, path));
    rest(tree, found.results.length);
    if (!found.results.length) complain(`no series matches ${pattern}`);
    else if (found.results.length > 1) tree.prepend(leaf(`all ${found.results.length}`, pattern));
  } catch (error) {
    complain(error);
  }
}

function add(target) {
  const lines = targets();
  if (!lines.includes(target)) at("targets").value = [...lines, target].join("\n");
  draw();
}

function targets() {
  return at("targets").value.split("\n").map((line) => line.trim()).filter(Boolean);
}

function question() {
  const asked = new URLSearchParams(targets().map((target) => ["target", target]));
  for (const name of FIELDS) {
    const value = at(name).value.trim();
    if (value && value !== "none" && value !== "now") asked.set(name, value);
  }
  return asked;
}

function draw() {
  clearTimeout(timer);
  complain("");
  const asked = question();
  history.replaceState(null, "", "?" + asked);
  const some = asked.has("target");
  for (const id of ["picture", "links"]) at(id).hidden = !some;
  at("hint").hidden = some;
  if (!some) return;
  for (const link of at("links").querySelectorAll("a")) {
    const own = new URLSearchParams(asked);
    if (link.dataset.format) own.set("format", link.dataset.format);
    else own.set("explain", "1");
    link.href = "/render?" + own;
  }
  asked.set("width", Math.max(300, Math.min(2000, at("graph").clientWidth)));
  asked.set("height", 420);
  asked.set("_salt", Date.now());
  const picture = at("picture");
  picture.alt = "Chart of " + targets().join(", ");
  picture.src = "/render?" + asked;
  const seconds = Number(at("refresh").value);
  if (seconds) timer = setTimeout(draw, seconds * 1000);
}

async function whatWentWrong() {
  const picture = at("picture");
  picture.hidden = true;
  try {
    const response = await fetch(picture.src);
    if (!response.ok) complain(await response.text());
  } catch (error) {
    complain(error);
  }
}

function begin() {
  const asked = new URLSearchParams(location.search);
  at("targets").value = asked.getAll("target").join("\n");
  for (const name of FIELDS) if (asked.get(name)) at(name).value = asked.get(name);
  for (const range of RANGES) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = range;
    button.addEventListener("click", () => {
      at("from").value = "-" + range;
      at("until").value = "now";
      draw();
    });
    at("ranges").append(button, " ");
  }
  for (const [id, action] of [["search", search], ["graph", draw]]) {
    at(id).addEventListener("submit", (event) => {
      event.preventDefault();
      action();
    });
  }
  for (const id of ["areaMode", "refresh"]) at(id).addEventListener("change", draw);
  at("picture").addEventListener("error", whatWentWrong);
  search();
  draw();
}

begin();
