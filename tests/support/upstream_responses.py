"""The scripted model server's answers to `/v1/responses`.

Events, their order and their fields are those of OpenAI's API: an event is named by its type and numbered, an answer
ends with `response.completed`, `response.incomplete` or `response.failed`, and there is no `[DONE]`. Every event that
holds the response names the model.
"""

import itertools
import json

from .reply import CREATED, MODEL, Written, argument_text, count_words, pieces_of, texts_of, typed_frame

# Settings that a response repeats, with the values that it has for those left out.
ECHOED = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}  # by finish reason


def prompt_texts(request):
    """All the text of a request's prompt: its instructions, its messages and the outputs of tools."""
    texts = [request.get("instructions") or ""]
    given = request.get("input") or []
    if isinstance(given, str):
        return [*texts, given]
    for item in given:
        texts += texts_of(item.get("content")) + texts_of(item.get("output"))
    return texts


def usage_of(request, reply, written):
    if isinstance(reply.usage, dict):
        return reply.usage
    prompt = count_words(prompt_texts(request))
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": reply.cached or 0, "cache_write_tokens": reply.cache_write or 0},
        "output_tokens": written.tokens,
        "output_tokens_details": {"reasoning_tokens": written.reasoning_tokens},
        "total_tokens": prompt + written.tokens,
    }


def answer(request, reply):
    made = Answer(request, reply)
    return ("text/event-stream", list(made.frames())) if request.get("stream") else ("application/json", [made.whole()])


class Answer:
    def __init__(self, request, reply):
        self.request, self.reply = request, reply
        self.written = Written(request, reply, request.get("max_output_tokens"))
        reason = "length" if self.written.is_cut else reply.finish_reason
        self.reason = INCOMPLETE.get(reason)
        self.status = "incomplete" if self.reason else "failed" if reason == "failed" else "completed"

    def response(self, status, output=()):
        """The response object. Only one that has ended has a usage."""
        has_usage = status != "in_progress" and self.reply.usage is not None
        error = {"code": "server_error", "message": f"scripted failure of {self.request['model']}"}
        return {
            "id": "resp_scripted",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "completed_at": CREATED + 1 if status == "completed" else None,
            "error": error if status == "failed" else None,
            "incomplete_details": {"reason": self.reason} if status == "incomplete" else None,
            "model": MODEL,
            "output": list(output),
            **{name: self.request.get(name, default) for name, default in ECHOED.items()},
            "usage": usage_of(self.request, self.reply, self.written) if has_usage else None,
            **self.reply.extra,
        }

    def items(self):
        """The output items, complete."""
        written = self.written
        if written.reasoning:
            summary = [{"type": "summary_text", "text": "".join(written.reasoning)}]
            item = {"id": "rs_scripted", "type": "reasoning", "summary": summary}
            if "reasoning.encrypted_content" in (self.request.get("include") or []):
                item["encrypted_content"] = "gAAAAscripted"
            yield item
        if written.text or not written.calls:
            part = {"type": "output_text", "text": written.whole_text, "annotations": [], "logprobs": []}
            status = "incomplete" if self.status == "incomplete" else "completed"
            yield {"id": "msg_scripted", "type": "message", "role": "assistant", "status": status, "content": [part]}
        for index, (name, arguments) in enumerate(written.calls):
            base = {"call_id": f"call_{index}", "name": name, "status": "completed"}
            if isinstance(arguments, str):
                yield {"id": f"ctc_{index}", "type": "custom_tool_call", **base, "input": arguments}
            else:
                yield {"id": f"fc_{index}", "type": "function_call", **base, "arguments": argument_text(arguments)}

    def whole(self):
        return json.dumps(self.response(self.status, self.items())).encode()

    def frames(self):
        number = itertools.count()
        for event in self.events():
            kind = event.pop("type")
            yield typed_frame({"type": kind, "sequence_number": next(number), **event}, self.reply.crlf)

    def events(self):
        yield {"type": "response.created", "response": self.response("in_progress")}
        yield {"type": "response.in_progress", "response": self.response("in_progress")}
        done = []
        for index, item in enumerate(self.items()):
            yield {"type": "response.output_item.added", "output_index": index, "item": self.begun(item)}
            place = {"item_id": item["id"], "output_index": index}
            yield from getattr(self, f"events_of_{item['type']}")(item, place)
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
            done.append(item)
        yield {"type": f"response.{self.status}", "response": self.response(self.status, done)}

    @staticmethod
    def begun(item):
        """The item as it is before anything has been written."""
        empty = {"content": [], "summary": [], "arguments": "", "input": "", "status": "in_progress"}
        return {name: empty.get(name, value) for name, value in item.items()}

    def events_of_message(self, item, place):
        place = {**place, "content_index": 0}
        [part] = item["content"]
        yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
        for word in self.written.text:
            yield {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}

    def events_of_reasoning(self, item, place):
        place = {**place, "summary_index": 0}
        [part] = item["summary"]
        yield {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}}
        for word in self.written.reasoning:
            yield {"type": "response.reasoning_summary_text.delta", **place, "delta": word}
        yield {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **place, "part": part}

    def events_of_function_call(self, item, place):
        for piece in pieces_of(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"]}

    def events_of_custom_tool_call(self, item, place):
        for piece in pieces_of(item["input"]):
            yield {"type": "response.custom_tool_call_input.delta", **place, "delta": piece}
        yield {"type": "response.custom_tool_call_input.done", **place, "input": item["input"]}
