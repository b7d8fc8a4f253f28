// What the page shows of each document. Texts go into `textContent` alone, never into markup.

import { drawLines, drawParts, drawStacks, drawUse } from "./charts.js";
import { Live } from "./live.js";
import { fill, setText } from "./tables.js";
import {
  ago, amount, clock, count, countOrNothing, dollars, duration, inSeconds, limitWords, percent,
} from "./words.js";

const find = (id) => document.getElementById(id);
const tableOf = (id) => find(id).querySelector("table");
const say = (id, text) => setText(find(id), text);
const sum = (values) => values.reduce((one, other) => one + other, 0);

let latest = null; // the latest document
let shownCall = null; // the id of the call whose timeline is open

// ---------------------------------------------------------------------------- the whole page

function show(reading) {
  latest = reading;
  document.body.classList.toggle("one-endpoint", reading.troupes.length < 2);
  showFigures(reading);
  showCharts(reading);
  showLanes(reading);
  showLimits(reading);
  showKeys(reading);
  showCalls(reading);
  showEnded(reading);
  showErrors(reading);
  showSpend(reading.spend);
  showEndpoints(reading);
  showActors(reading);
  const up = duration(reading.uptime_s);
  say("program", `Callsheet ${reading.callsheet}, running for ${up}.`);
  if (shownCall !== null && find("call").dataset.state === "open") showCall(shownCall);
}

/** The entries of one list of all troupes, each with the name of its endpoint. */
function all(reading, list) {
  return reading.troupes.flatMap((troupe) =>
    troupe.reading[list].map((entry, number) => ({ ...entry, endpoint: troupe.name, troupe, number })),
  );
}

function showFigures(reading) {
  const troupes = reading.troupes.map((troupe) => troupe.reading);
  const most = troupes.map((troupe) => troupe.max_in_flight);
  const { traffic, spend } = reading;
  say("in-flight", count(sum(troupes.map((troupe) => troupe.in_flight))));
  say("in-flight-note", most.some((one) => one === null) ? "" : `of ${count(sum(most))}`);
  const ofKeys = sum(reading.tenants.map((tenant) => tenant.waiting));
  say("waiting", count(ofKeys + sum(troupes.map((troupe) => troupe.waiting))));
  const turns = all(reading, "lanes").map((lane) => lane.next_s).filter((next) => next !== null);
  say("waiting-note", turns.length ? `next turn ${inSeconds(Math.min(...turns))}` : "");
  const seconds = Math.max(1, Math.min(reading.uptime_s, traffic.slot_s + traffic.last_s));
  const perMinute = (counts) => (60 * sum(counts.slice(-2))) / seconds;
  say("per-minute", amount(perMinute(traffic.answered)));
  const retried = perMinute(traffic.retried);
  say("per-minute-note", retried ? `and ${amount(retried)} attempts retried` : "answered");
  say("tokens", amount(perMinute(traffic.tokens)));
  say("failed", count(sum(traffic.failed)));
  find("failed").classList.toggle("bad", sum(traffic.failed) > 0);
  say("cost", dollars(spend.known_usd));
  const unpriced = spend.unpriced ? `, ${count(spend.unpriced)} of unknown cost` : "";
  say("cost-note", (spend.source === "ledger" ? "in the ledger" : "since the start") + unpriced);
}

function showCharts({ traffic, troupes }) {
  const [answered, failed, cancelled] = [traffic.answered, traffic.failed, traffic.cancelled];
  drawStacks(
    find("ended-chart"),
    [["answered", answered], ["failed", failed], ["cancelled", cancelled]],
    "60 min",
    `In the last hour ${count(sum(answered))} calls were answered, ${count(sum(failed))} failed, ` +
      `and the clients of ${count(sum(cancelled))} went away`,
  );
  const together = (name) => addUp(troupes.map((troupe) => troupe.history[name]));
  const [flight, waiting] = [together("in_flight"), together("waiting")];
  const highest = (values) => count(Math.max(0, ...values.map((value) => value ?? 0)));
  drawLines(
    find("open-chart"),
    [["queued", waiting], ["flight", flight]],
    "10 min",
    `In the last ten minutes at most ${highest(flight)} calls were in flight, ` +
      `and at most ${highest(waiting)} waited`,
  );
}

/** Series of several troupes, slot by slot; null where no troupe has a value. */
function addUp(series) {
  const slots = Math.max(0, ...series.map((values) => values.length));
  return Array.from({ length: slots }, (_, slot) => {
    const values = series.map((one) => one[slot] ?? null).filter((value) => value !== null);
    return values.length ? sum(values) : null;
  });
}

// ---------------------------------------------------------------------------- sections

function showLanes(reading) {
  const lanes = all(reading, "lanes").sort((one, other) => one.name.localeCompare(other.name));
  fill(tableOf("lanes"), lanes, (lane) => `${lane.endpoint} ${lane.name}`, (row, lane) =>
    row
      .cell(lane.name || "(no lane)", "text")
      .cell(lane.endpoint, "endpoint")
      .number(count(lane.in_flight))
      .number(countOrNothing(lane.waiting), lane.waiting ? "busy" : "")
      .moment(lane.waiting ? lane.next_s : null, reading.unix_s),
  );
}

function showLimits(reading) {
  const key = (limit) => `${limit.endpoint} ${limit.subject} ${limit.dimension} ${limit.per_s} ${limit.source}`;
  fill(tableOf("limits"), all(reading, "limits"), key, (row, limit) => {
    const of = limit.subject ? `, ${limit.subject}` : "";
    const others = limit.others_per_s ? `, others ${amount(limit.others_per_s)}/s` : "";
    row
      .cell(limitWords(limit) + of, "text")
      .cell(limit.endpoint, "endpoint")
      .drawn(usedWords(limit), "used", (svg) =>
        drawParts(svg, limit.use === null ? [] : [partOfUse(limit.use)]),
      )
      .drawn("", "", (svg) => drawUse(svg, limit.troupe.history.use[limit.number] ?? []))
      .cell(limit.source + others, "less");
  });
}

const partOfUse = (use) => [use >= 0.999 ? "queued" : "flight", 0, use];

function showKeys({ tenants, unix_s }) {
  find("keys").hidden = tenants.length === 0;
  fill(tableOf("keys"), tenants, (tenant) => tenant.name, (row, tenant) => {
    row
      .cell(tenant.name, "text")
      .cell(tenant.lane, "less text")
      .number(count(tenant.in_flight))
      .number(countOrNothing(tenant.waiting), tenant.waiting ? "busy" : "")
      .moment(tenant.waiting ? tenant.next_s : null, unix_s);
    for (const use of [tenant.requests, tenant.tokens]) {
      if (use === null) row.cell("no limit", "note");
      else row.drawn(`${percent(use)} used`, "used", (svg) => drawParts(svg, [partOfUse(use)]));
    }
  });
}

function usedWords(limit) {
  if (limit.used === null) return "unknown";
  return limit.use === null ? amount(limit.used) : `${amount(limit.used)} (${percent(limit.use)})`;
}

function showCalls(reading) {
  const wanted = find("filter").value.trim().toLowerCase();
  const calls = all(reading, "calls");
  const found = calls.filter((call) =>
    `${call.call}\n${call.lane}\n${call.model}`.toLowerCase().includes(wanted),
  );
  const more = reading.left_out.calls ?? 0;
  const words = wanted ? `${count(found.length)} of ${count(calls.length)} calls` : "";
  say("calls-note", more ? `${words} ${count(more)} further calls are not listed` : words);
  fill(tableOf("calls"), found, (call) => `${call.endpoint} ${call.call}`, (row, call) => {
    const isWaiting = call.state === "waiting";
    row
      .button(call.call, `Timeline of ${call.call}`, () => openCall(call.call))
      .cell(call.lane || "–", "text")
      .cell(call.model, "less text")
      .cell(call.endpoint, "endpoint less")
      .cell(call.state, isWaiting ? "busy" : "")
      .number(duration(call.seconds))
      .moment(isWaiting ? call.turn_s : null, reading.unix_s);
  });
}

function showEnded(reading) {
  const which = document.querySelector("input[name=which]:checked").value;
  const calls = reading[which];
  const longest = Math.max(...calls.map((call) => call.seconds), 0.001);
  fill(tableOf("ended"), calls, (call) => `${call.endpoint} ${call.call}`, (row, call) => {
    const queued = call.queued_s / longest;
    const tokens = call.input_tokens === null ? "" : count(call.input_tokens + call.output_tokens);
    row
      .button(call.call, `Timeline of ${call.call}`, () => openCall(call.call))
      .cell(call.lane || "–", "text")
      .cell(call.model, "less text")
      .cell(call.endpoint, "endpoint less")
      .cell(endWords(call), call.state === "failed" ? "bad" : "")
      .drawn(duration(call.seconds), "number drawn", (svg) =>
        drawParts(svg, [["queued", 0, queued], ["flight", queued, queued + call.flight_s / longest]]),
      )
      .number(call.queued_s < 0.005 ? "" : duration(call.queued_s), "less")
      .number(count(call.attempts), "less")
      .number(tokens, "less")
      .number(call.input_tokens === null ? "" : dollars(call.cost_usd))
      .number(ago(call.ended_s), "less");
  });
}

function endWords(call) {
  if (call.state === "answered" || call.state === "shared") return call.route || call.state;
  return call.state;
}

function showErrors({ errors }) {
  fill(tableOf("errors"), errors, (error) => `${error.kind} ${error.actor} ${error.call}`, (row, error) => {
    row
      .pair(error.kind || "?", error.failed || error.crashed ? "bad" : "busy", error.text)
      .number(countOrNothing(error.failed))
      .number(countOrNothing(error.retried))
      .number(countOrNothing(error.crashed), "less")
      .number(ago(error.seconds))
      .cell(error.actor || error.call, "less text");
  });
}

function showSpend(spend) {
  const parts = [
    `${dollars(spend.known_usd)} ${spend.source === "ledger" ? "in the ledger" : "since the start"}`,
    spend.reserved_usd !== null && `at most ${dollars(spend.reserved_usd)} reserved for calls in flight`,
    spend.maybe_usd !== null && Number(spend.maybe_usd) && `at most ${dollars(spend.maybe_usd)} maybe billed without a response`,
    spend.unpriced && `${count(spend.unpriced)} responses of unknown cost`,
    spend.source === "calls" && "without a ledger, spend by day is not kept",
  ];
  say("spend-note", `${parts.filter(Boolean).join("; ")}.`);
  for (const list of ["tenants", "models", "days"]) showSpendOf(find(list), spend[list]);
  fill(find("budgets"), spend.budgets, (budget) => budget.name, (row, budget) =>
    row
      .cell(budget.name || "everything", "text")
      .number(dollars(budget.used_usd))
      .number(dollars(budget.left_usd), Number(budget.left_usd) > 0 ? "" : "bad"),
  );
}

function showSpendOf(table, rows) {
  const most = Math.max(...rows.map((row) => Number(row.known_usd)), 1e-9);
  fill(table, rows, (entry) => entry.name, (row, entry) => {
    const unpriced = entry.unpriced ? ` + ${count(entry.unpriced)} unknown` : "";
    row
      .cell(entry.name || "(none)", "text")
      .number(count(entry.calls))
      .drawn(dollars(entry.known_usd) + unpriced, "number drawn", (svg) =>
        drawParts(svg, [["answered", 0, Number(entry.known_usd) / most]]),
      );
  });
}

const breakers = { closed: "well", open: "out", half_open: "being tried" };

function showEndpoints(reading) {
  const pauses = all(reading, "pauses").map((pause) => ({
    endpoint: pause.endpoint,
    name: `pause after refusals: ${pause.subject || "all calls"}`,
    breaker: "paused",
    again_s: pause.seconds,
    opened: 0,
    connections: null,
    idle: null,
  }));
  const endpoints = [...pauses, ...all(reading, "endpoints")];
  fill(tableOf("endpoints"), endpoints, (one) => `${one.endpoint} ${one.name}`, (row, one) =>
    row
      .cell(one.name, "text")
      .cell(one.endpoint, "endpoint")
      .cell(breakers[one.breaker] ?? one.breaker, one.breaker === "closed" ? "good" : "bad")
      .moment(one.again_s, reading.unix_s)
      .number(countOrNothing(one.opened), "less")
      .number(one.connections === null ? "" : count(one.connections))
      .number(one.idle === null ? "" : count(one.idle), "less"),
  );
}

function showActors({ actors, left_out, troupes }) {
  const more = left_out.actors ? `, of which ${count(left_out.actors)} are not listed` : "";
  const silent = troupes.flatMap((troupe) => troupe.reading.missing.map((stage) => `${troupe.name} ${stage}`));
  const missing = silent.length ? `; without a reply: ${silent.join(", ")}` : "";
  say("actors-note", `${count(actors.length + (left_out.actors ?? 0))} actors and supervisors${more}${missing}.`);
  fill(tableOf("actors"), actors, (actor) => actor.path, (row, actor) => {
    const [depth, name] = [actor.path.split("/").length - 1, actor.path.split("/").at(-1)];
    const senders = actor.senders ? ` +${count(actor.senders)}` : "";
    row
      .cell(name, `actor depth-${Math.min(depth, 6)}`)
      .cell(actor.members === null ? actor.kind : `${actor.members} × ${actor.kind}`, "less")
      .cell(actor.state, actor.state === "running" ? "" : "bad")
      .number(actor.capacity ? `${count(actor.depth)}/${count(actor.capacity)}${senders}` : "", actor.depth || actor.senders ? "busy" : "")
      .number(actor.oldest_s === null ? "" : duration(actor.oldest_s), "less")
      .number(countOrNothing(actor.in_progress), "less")
      .number(actor.kind === "supervisor" ? "" : count(actor.handled))
      .number(countOrNothing(actor.failed), "less")
      .number(countOrNothing(actor.restarts), actor.restarts ? "bad" : "");
    // The indentation alone tells nothing to those who do not see it.
    row.element.cells[0].title = actor.path;
    row.element.cells[0].setAttribute("aria-label", actor.path);
  });
}

// ---------------------------------------------------------------------------- one call

function openCall(id) {
  shownCall = id;
  say("call-title", id);
  say("call-problem", "");
  find("call-facts").replaceChildren();
  fill(tableOf("call"), [], String, () => {});
  for (const name of ["call-prompt", "call-response"]) find(name).hidden = true;
  find("call").showModal();
  showCall(id);
}

async function showCall(id) {
  const response = await fetch(`/api/call?id=${encodeURIComponent(id)}`).catch(() => null);
  if (shownCall !== id) return;
  if (!response?.ok) {
    const words = response?.status === 404 ? "No call with this id is kept: it is too old, or never was." : "The gateway does not answer.";
    say("call-problem", words);
    find("call").dataset.state = "unknown";
    find("call-facts").replaceChildren();
    return;
  }
  const { summary, phases, first_byte_s, left_out, ...texts } = await response.json();
  find("call").dataset.state = summary.state;
  say("call-problem", summary.state === "failed" ? summary.error : "");
  showFacts([
    ["State", summary.route ? `${summary.state} (${summary.route})` : summary.state],
    ["Asked", clock(latest.unix_s - summary.ended_s - summary.seconds)],
    ["Took", duration(summary.seconds)],
    ["Queued", duration(summary.queued_s)],
    ["First byte", first_byte_s === null ? "" : `${duration(first_byte_s)} after it was sent`],
    ["Lane", summary.lane || "–"],
    ["Tenant", summary.tenant === summary.lane ? "" : summary.tenant],
    ["Model", summary.model],
    ["Endpoint", summary.endpoint],
    ["Attempts", count(summary.attempts)],
    ["Tokens", summary.input_tokens === null ? "" : `${count(summary.input_tokens)} in, ${count(summary.output_tokens)} out`],
    ["Cost", summary.input_tokens === null ? "" : dollars(summary.cost_usd)],
    ["Left out", left_out ? `${count(left_out)} events` : ""],
  ]);
  for (const name of ["prompt", "response"]) {
    find(`call-${name}`).hidden = texts[name] === null;
    setText(find(`call-${name}`).querySelector("pre"), texts[name] ?? "");
  }
  const whole = Math.max(summary.seconds, 1e-9);
  const parts = phases
    .filter((phase) => phase.state !== "waiting" || phase.seconds >= 0.001)
    .map((phase, number) => ({ ...phase, number, isSent: phase.state === "in flight" }));
  fill(tableOf("call"), parts, (phase) => phase.number, (row, phase) => {
    const color = phase.isSent ? (phase.error ? "failed" : "flight") : phase.state;
    row
      .cell(phase.isSent ? `attempt ${phase.attempt}` : phaseWords[phase.state])
      .number(duration(phase.start_s), "less")
      .number(duration(phase.seconds))
      .drawn("", "bar", (svg) =>
        drawParts(svg, [[color, phase.start_s / whole, (phase.start_s + phase.seconds) / whole]]),
      )
      .cell(phase.isSent && phase.error ? phase.error : "", "text");
  });
}

const phaseWords = { waiting: "between stages", queued: "queued", retrying: "pause" };

function showFacts(facts) {
  const pairs = facts.filter(([, value]) => value !== "").map(([name, value]) => {
    const pair = document.createElement("div");
    for (const [tag, text] of [["dt", name], ["dd", value]]) {
      pair.appendChild(document.createElement(tag)).textContent = text;
    }
    return pair;
  });
  find("call-facts").replaceChildren(...pairs);
}

// ---------------------------------------------------------------------------- the connection

function showState(next) {
  const { state } = document.body.dataset;
  if (next === state) return;
  const isBack = next === "live" && (state === "gone" || state === "draining");
  const since = clock(Date.now() / 1000);
  const words = {
    live: isBack ? `Live again since ${since}` : "Live",
    gone: `No answer since ${since}. Trying again.`,
    draining: `Shutting down since ${since}: calls in progress end, and no new ones begin.`,
    login: "Logged out. ",
  };
  say("connection", words[next]);
  if (next === "login") {
    const link = document.createElement("a");
    link.href = "/ui/login";
    link.textContent = "Log in";
    find("connection").append(link);
  }
  document.body.dataset.state = next;
}

find("filter").addEventListener("input", () => latest && showCalls(latest));
for (const radio of document.querySelectorAll("input[name=which]")) {
  radio.addEventListener("change", () => latest && showEnded(latest));
}
find("find").addEventListener("submit", (event) => {
  event.preventDefault();
  openCall(find("wanted").value.trim());
});
find("call-close").addEventListener("click", () => find("call").close());
find("call").addEventListener("close", () => {
  shownCall = null;
});
new Live(show, showState);
