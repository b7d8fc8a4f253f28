// Tables that change every second while people read them: rows are kept, and so are focus and place.

import { clock, inSeconds } from "./words.js";

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

/** Give a table one row for each item. A row is kept as long as its item is there. */
export function fill(table, items, keyOf, draw) {
  const body = table.tBodies[0];
  const focused = document.activeElement;
  const before = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const used = new Set();
  items.forEach((item, number) => {
    let key = String(keyOf(item));
    while (used.has(key)) key += "'";
    used.add(key);
    let row = before.get(key);
    if (row === undefined) {
      row = document.createElement("tr");
      row.dataset.key = key;
    }
    if (body.rows[number] !== row) body.insertBefore(row, body.rows[number] ?? null);
    draw(new Row(row), item);
  });
  while (body.rows.length > items.length) body.rows[items.length].remove();
  if (focused !== document.activeElement && body.contains(focused)) {
    focused.focus({ preventScroll: true });
  }
  table.hidden = items.length === 0;
  const none = table.closest("section, dialog").querySelector(":scope > .none");
  if (none !== null) none.hidden = items.length > 0;
}

/** Draws the cells of one row, from the left. The first one is its heading. */
class Row {
  constructor(element) {
    this.element = element;
    this.next = 0;
  }

  cell(text, className = "") {
    const cell = this.node(className);
    setText(cell, text);
    return this;
  }

  number(text, className = "") {
    return this.cell(text, `number ${className}`.trim());
  }

  /** A name, and a sentence below it. */
  pair(name, className, sentence) {
    const cell = this.node("text");
    if (cell.firstElementChild === null) {
      cell.append(document.createElement("div"), document.createElement("div"));
      cell.lastElementChild.className = "sentence";
    }
    setText(cell.firstElementChild, name);
    setClass(cell.firstElementChild, className);
    setText(cell.lastElementChild, sentence);
    return this;
  }

  /** When something is: in how many seconds and, where there is room, the time of day. */
  moment(seconds, unixNow) {
    const cell = this.node("number");
    if (cell.firstElementChild === null) {
      cell.append(document.createElement("span"), document.createElement("span"));
      cell.lastElementChild.className = "less";
    }
    setText(cell.firstElementChild, seconds === null ? "" : inSeconds(seconds));
    setText(cell.lastElementChild, seconds === null ? "" : ` (${clock(unixNow + seconds)})`);
    return this;
  }

  button(text, label, action) {
    const cell = this.node("text");
    let button = cell.firstElementChild;
    if (button === null) {
      button = cell.appendChild(document.createElement("button"));
      button.className = "link";
    }
    setText(button, text);
    button.setAttribute("aria-label", label);
    button.onclick = action;
    return this;
  }

  /** A text, and a picture of it that screen readers pass over. */
  drawn(text, className, draw) {
    const cell = this.node(className);
    if (cell.firstElementChild === null) {
      cell.append(document.createElement("span"));
      const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      picture.setAttribute("aria-hidden", "true");
      cell.append(picture);
    }
    setText(cell.firstElementChild, text);
    draw(cell.lastElementChild);
    return this;
  }

  node(className) {
    let cell = this.element.cells[this.next];
    if (cell === undefined) {
      cell = document.createElement(this.next === 0 ? "th" : "td");
      if (this.next === 0) cell.scope = "row";
      this.element.append(cell);
    }
    this.next += 1;
    setClass(cell, className);
    return cell;
  }
}
