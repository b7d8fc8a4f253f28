// Figures as words, the same ones as in `callsheet top`.

const number = new Intl.NumberFormat("en");
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export const count = (value) => number.format(value);
export const countOrNothing = (value) => (value ? count(value) : "");

export function amount(value) {
  return Number.isInteger(value) || value >= 100
    ? number.format(Math.round(value))
    : String(Number(value.toPrecision(3)));
}

/** Seconds in one or two units: "0.35 s", "12 s", "2 min 05 s", "3 h 20 min", "2 d 05 h". */
export function duration(seconds) {
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  const whole = Math.round(seconds);
  const pair = (size, unit, smaller) =>
    `${Math.floor(whole / size)} ${unit} ${String(Math.floor((whole % size) / smaller[0])).padStart(2, "0")} ${smaller[1]}`;
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return pair(60, "min", [1, "s"]);
  if (whole < 86400) return pair(3600, "h", [60, "min"]);
  return pair(86400, "d", [3600, "h"]);
}

/** How long ago something was, in one unit. */
export function ago(seconds) {
  if (seconds < 1) return "now";
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(
    ([least]) => seconds >= least,
  );
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

/** A moment: the time of day in this browser. */
export const clock = (unixSeconds) => time.format(new Date(unixSeconds * 1000));

export const inSeconds = (seconds) => (seconds < 0.05 ? "now" : `in ${duration(seconds)}`);

export function dollars(text) {
  if (text === null) return "unknown";
  const value = Number(text);
  if (value === 0) return "$0";
  if (Math.abs(value) < 0.001) return `$${value.toFixed(6)}`;
  return Math.abs(value) < 1 ? `$${value.toFixed(4)}` : `$${number.format(value.toFixed(2))}`;
}

/** A share as a percentage; only 1 is "100 %", and only 0 is "0 %". */
export function percent(share) {
  if (share <= 0) return "0 %";
  return share >= 1 ? "100 %" : `${Math.min(99, Math.max(1, Math.round(100 * share)))} %`;
}

const periods = new Map([[1, "a second"], [60, "a minute"], [3600, "an hour"], [86400, "a day"]]);

export function limitWords(limit) {
  const what = limit.dimension.replace("_", " ").replace("usd", "USD");
  if (limit.limit === null) return `${what}: no limit`;
  const words = `${amount(limit.limit)} ${what}`;
  if (limit.per_s === null) return words;
  return `${words} ${periods.get(limit.per_s) ?? `in ${duration(limit.per_s)}`}`;
}
