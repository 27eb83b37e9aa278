// A parser of server-sent events. It takes bytes in pieces of any size and returns events as soon as they are complete.
//
// It follows the HTML standard (lines end with CR, LF or both; a line that begins with a colon is a comment; several
// `data` lines are one value) with one exception: `end` also returns a last event without its empty line, since
// some model servers end their streams this way.

/** @typedef {{event: string, data: string}} ServerEvent */

/** Maximum length of a line. */
const MAX_LINE = 16 << 20;

export class SseParser {
  #decoder = new TextDecoder();
  /** An incomplete line. */
  #rest = "";
  /** Whether the last piece ended with a CR: a following LF belongs to the same line end. */
  #afterReturn = false;
  #event = "";
  /** @type {string[]} */
  #data = [];

  /** @param {Uint8Array} bytes @returns {ServerEvent[]} */
  push(bytes) {
    return this.#read(this.#decoder.decode(bytes, { stream: true }));
  }

  /** The remaining event, at the end of the stream. @returns {ServerEvent[]} */
  end() {
    const events = this.#read(`${this.#decoder.decode()}\n\n`);
    this.#rest = "";
    return events;
  }

  /** @param {string} piece */
  #read(piece) {
    if (!piece) return [];
    const text = this.#afterReturn && piece.startsWith("\n") ? piece.slice(1) : piece;
    this.#afterReturn = piece.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > MAX_LINE) throw new RangeError("A line of the stream is longer than 16 MiB.");
    return lines.flatMap((line) => this.#line(line));
  }

  /** @param {string} line @returns {ServerEvent[]} */
  #line(line) {
    if (line === "") {
      const event = { event: this.#event || "message", data: this.#data.join("\n") };
      const given = this.#data.length > 0;
      this.#event = "";
      this.#data = [];
      return given ? [event] : [];
    }
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === "data") this.#data.push(value ?? "");
    if (name === "event") this.#event = value ?? "";
    return [];
  }
}
