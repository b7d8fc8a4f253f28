// The connection to the gateway: documents as they come, and whether it is there.

const AGAIN_MS = 2000;
const SILENT_MS = 5000; // longer than expected without a document

/**
 * Follow the gateway while the page is seen.
 *
 * `onDocument` gets each document; `onState` gets "live", "gone", "draining" or "login".
 */
export class Live {
  constructor(onDocument, onState) {
    this.onDocument = onDocument;
    this.onState = onState;
    this.source = null;
    this.silent = null;
    document.addEventListener("visibilitychange", () => this.follow());
    this.follow();
  }

  /** Connect if the page is seen; if not, the gateway need not be read for it. */
  follow() {
    this.close();
    if (document.hidden) return;
    const source = new EventSource("/api/events");
    source.addEventListener("reading", (event) => {
      const reading = JSON.parse(event.data);
      this.expect(1000 * reading.every_s + SILENT_MS);
      this.onState("live");
      this.onDocument(reading);
    });
    source.addEventListener("draining", () => this.end("draining"));
    source.addEventListener("login", () => this.end("login"));
    source.addEventListener("error", () => this.lose());
    this.source = source;
    this.expect(2 * SILENT_MS);
  }

  close() {
    clearTimeout(this.silent);
    this.source?.close();
    this.source = null;
  }

  /** Connect anew if nothing comes in time: a connection can be dead without an error. */
  expect(milliseconds) {
    clearTimeout(this.silent);
    this.silent = setTimeout(() => this.lose(), milliseconds);
  }

  end(state) {
    this.close();
    this.onState(state);
    if (state !== "login") this.later();
  }

  /** Find out why there is no connection: the gateway is gone, or wants a login. */
  async lose() {
    this.close();
    const status = await statusOf("/api/reading");
    if (this.source !== null) return; // the page was hidden and shown meanwhile
    if (status === 401) {
      this.end("login");
    } else {
      if (status !== 200) this.onState("gone");
      this.later();
    }
  }

  later() {
    this.silent = setTimeout(() => this.follow(), AGAIN_MS);
  }
}

async function statusOf(url) {
  try {
    return (await fetch(url)).status;
  } catch {
    return null;
  }
}
