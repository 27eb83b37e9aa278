// The pieces of generated text in an answer: in the chunks of a chat, in the events of a response or a message, and in
// whole answers.

/** @typedef {{kind: "text" | "reasoning" | "tools", text: string, choice: number}} Piece */

/** The kinds of a response's deltas, by a word in the event's type. @type {[RegExp, Piece["kind"]][]} */
const DELTAS = [[/reasoning/, "reasoning"], [/output_text|refusal/, "text"], [/arguments|input|code/, "tools"]];

/** @param {any} value */
export const textOf = (value) => (typeof value === "string" ? value : "");

/** @param {any} value @returns {any[]} */
const listOf = (value) => (Array.isArray(value) ? value : []);

/** @param {Piece["kind"]} kind @param {string} text @returns {Piece} */
const piece = (kind, text, choice = 0) => ({ kind, text, choice });

/** @param {any} answer a chunk, an event or a whole answer @returns {Piece[]} */
export const piecesOf = (answer) =>
  [...listOf(answer?.choices).flatMap(ofChoice), ...ofTyped(answer ?? {})].filter(({ text }) => text !== "");

/** @param {any} choice */
function ofChoice(choice) {
  const message = choice?.delta ?? choice?.message ?? {};
  const at = Number(choice?.index ?? 0);
  return [
    piece("reasoning", textOf(message.reasoning_content) || textOf(message.reasoning), at),
    piece("text", textOf(message.content) || textOf(message.refusal) || textOf(choice?.text), at),
    piece("tools", listOf(message.tool_calls).map((call) => callText(call?.function)).join(""), at),
  ];
}

/** Responses and messages. @param {any} answer */
function ofTyped({ type, delta, item, content_block, output, content }) {
  if (typeof delta === "string") {
    return DELTAS.filter(([word]) => word.test(type)).slice(0, 1).map(([, kind]) => piece(kind, delta));
  }
  // An item that is done repeats its deltas.
  const begun = type === "response.output_item.added" && item;
  return [begun, content_block, delta, ...listOf(output), ...listOf(content)].flatMap(ofPart);
}

/** An output item of a response, a content block of a message, or a part of one. @param {any} part @returns {Piece[]} */
function ofPart(part) {
  const { type, text, refusal, thinking, partial_json, summary, content } = part || {};
  const isReasoning = type === "reasoning_text" || type === "summary_text";
  return [
    piece("reasoning", textOf(thinking)),
    piece(isReasoning ? "reasoning" : "text", textOf(text) || textOf(refusal)),
    piece("tools", callText(part) || textOf(partial_json)),
    ...[...listOf(summary), ...listOf(content)].flatMap(ofPart),
  ];
}

/** The name and arguments of a tool call, or the part of them that has arrived. @param {any} call */
function callText(call) {
  const { name, arguments: given, input } = call || {};
  const hasMembers = input && typeof input === "object" && Object.keys(input).length > 0;
  return (textOf(name) && `\n${name} `) + (textOf(given) || textOf(input) || (hasMembers ? JSON.stringify(input) : ""));
}
