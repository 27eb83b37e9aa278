"""The scripted model server's answers to `/v1/messages` and `/v1/messages/count_tokens`.

Events, their order and their fields are those of Anthropic's API: `message_start` names the model and has the prompt's
usage, `message_delta` has the stop reason and the final usage, and `message_stop` is the last. `input_tokens` excludes
tokens read from or written to the cache, which the prompt's words do not include.
"""

import json

from .reply import MODEL, Written, count_words, pieces_of, texts_of, typed_frame

HEADERS = {"request-id": "req_scripted", "anthropic-organization-id": "org_scripted"}
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}  # by finish reason


def count_prompt(request):
    """The words of the system prompt, the messages and the results of tools."""
    texts = texts_of(request.get("system"))
    for message in request["messages"]:
        texts += texts_of(message.get("content"))
    return count_words(texts)


def count_tokens(request, reply):
    return "application/json", [json.dumps({"input_tokens": count_prompt(request), **reply.extra}).encode()]


def answer(request, reply):
    made = Answer(request, reply)
    return ("text/event-stream", list(made.frames())) if request.get("stream") else ("application/json", [made.whole()])


class Answer:
    def __init__(self, request, reply):
        self.request, self.reply = request, reply
        self.written = Written(request, reply, request.get("max_tokens"))
        reason = "length" if self.written.is_cut else reply.finish_reason
        is_call = reason == "stop" and self.written.calls
        self.stop_reason = "tool_use" if is_call else STOP_REASONS.get(reason, reason)

    def usage(self):
        """The final usage, of the whole answer."""
        reply = self.reply
        if isinstance(reply.usage, dict):
            return reply.usage
        usage = {
            "input_tokens": count_prompt(self.request),
            "cache_creation_input_tokens": reply.cache_write or 0,
            "cache_read_input_tokens": reply.cached or 0,
            "output_tokens": self.written.tokens,
        }
        if self.written.reasoning:
            usage["output_tokens_details"] = {"thinking_tokens": self.written.reasoning_tokens}
        return usage

    def message(self, content, stop_reason, **counts):
        message = {
            "id": "msg_scripted",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
        }
        if self.reply.usage is not None:
            message["usage"] = {"service_tier": "standard", **self.usage(), **counts}
        return message | self.reply.extra

    def blocks(self):
        """The content blocks, each as it begins, complete, and as the deltas between the two."""
        written = self.written
        if written.reasoning:
            whole = {"type": "thinking", "thinking": "".join(written.reasoning), "signature": "EqQscripted"}
            deltas = [{"type": "thinking_delta", "thinking": word} for word in written.reasoning]
            deltas.append({"type": "signature_delta", "signature": whole["signature"]})
            yield {**whole, "thinking": "", "signature": ""}, whole, deltas
        if written.text or not written.calls:
            deltas = [{"type": "text_delta", "text": word} for word in written.text]
            yield {"type": "text", "text": ""}, {"type": "text", "text": written.whole_text}, deltas
        for index, (name, arguments) in enumerate(written.calls):
            whole = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": arguments}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces_of(arguments)]]
            yield {**whole, "input": {}}, whole, deltas

    def whole(self):
        content = [whole for _, whole, _ in self.blocks()]
        return json.dumps(self.message(content, self.stop_reason)).encode()

    def frames(self):
        for event in self.events():
            yield typed_frame(event, self.reply.crlf)

    def events(self):
        yield {"type": "message_start", "message": self.message([], None, output_tokens=1)}
        yield {"type": "ping"}
        for index, (begun, _, deltas) in enumerate(self.blocks()):
            yield {"type": "content_block_start", "index": index, "content_block": begun}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        end = {"type": "message_delta", "delta": {"stop_reason": self.stop_reason, "stop_sequence": None}}
        if self.reply.usage is not None:
            end["usage"] = self.usage()
        yield end
        yield {"type": "message_stop"}
