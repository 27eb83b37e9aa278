"""A model server that a test scripts in every detail.

By default it answers every inference route with deterministic words and an exact usage, as JSON or as server-sent
events (of chats, with a usage chunk only on request, as real servers do). Chat completions, completions and embeddings
are here, the other routes in the modules that `ROUTES` names. A test scripts the next answers by method calls; each
answer is used once, in order:

    upstream.fail_next(3, 503)
    gate = upstream.stall_next(after=2)          # two chunks, then silence until gate.release()
    upstream.break_off_next(after=2)
    upstream.reply_next(Reply(...))

Every request is recorded unchanged in `requests`; its `hung_up` is set when the client hangs up.
"""

import json

from . import upstream_media, upstream_messages, upstream_responses, upstream_scores
from .reply import CREATED, MODEL, Reply, frame
from .scripted import BreakOff, ScriptedServer

# By the end of the path; other paths answer as chat completions, completions or embeddings.
ROUTES = {
    "/responses": upstream_responses.answer,
    "/messages": upstream_messages.answer,
    "/messages/count_tokens": upstream_messages.count_tokens,
    "/rerank": upstream_scores.rerank,
    "/moderations": upstream_scores.moderations,
    "/images/generations": upstream_media.images,
    "/audio/speech": upstream_media.speech,
    "/audio/transcriptions": upstream_media.transcriptions,
    "/audio/translations": upstream_media.translations,
}


def choices_of(request):
    """The number of requested choices, at most 128: real servers have a limit too."""
    return int(min(request.get("n") or 1, 128))


def words_of(request, reply):
    limit = request.get("max_tokens") or request.get("max_completion_tokens")
    if isinstance(reply.words, list):
        words = reply.words
    else:
        words = [f"w{index} " for index in range(8 if reply.words is None else reply.words)]
    return words[: int(min(limit, len(words)))] if limit else words


def text_of(request):
    """All the text of a request's prompt, in order."""
    if "messages" in request:
        parts = []
        for message in request["messages"]:
            content = message.get("content") or ""
            parts += [content] if isinstance(content, str) else [part.get("text", "") for part in content]
        return " ".join(parts)
    prompt = request.get("prompt", request.get("input", ""))
    return prompt if isinstance(prompt, str) else " ".join(str(part) for part in prompt)


def usage_of(request, reply, written):
    """The true usage: words in, words out. `written` counts the words of all choices together."""
    if isinstance(reply.usage, dict):
        return reply.usage
    prompt = len(text_of(request).split())
    usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    if reply.cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": reply.cached}
    return usage


def stream_frames(path, request, reply):
    """The frames of a streamed answer: a role, the words of every choice, the finish reasons, the usage, `[DONE]`."""
    chat = path.endswith("/chat/completions")
    choices = choices_of(request)
    words = words_of(request, reply)
    include = (request.get("stream_options") or {}).get("include_usage") is True and reply.usage is not None
    base = {
        "id": "cmpl-scripted",
        "object": "chat.completion.chunk" if chat else "text_completion",
        "created": CREATED,
        "model": MODEL,
        "system_fingerprint": "fp_scripted",
        **reply.extra,
    }
    written = 0

    def chunk(choice):
        body = {**base, "choices": [choice] if choice else []}
        if reply.continuous:
            body["usage"] = usage_of(request, reply, written)
        elif include:
            body["usage"] = None
        return frame(body, reply.crlf)

    if chat:
        for index in range(choices):
            yield chunk({"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})
    for word in words:
        for index in range(choices):
            written += 1
            part = {"delta": {"content": word}} if chat else {"text": word}
            yield chunk({"index": index, **part, "logprobs": None, "finish_reason": None})
    for index in range(choices):
        part = {"delta": {}} if chat else {"text": ""}
        yield chunk({"index": index, **part, "finish_reason": reply.finish_reason})
    if include:
        yield frame({**base, "choices": [], "usage": usage_of(request, reply, written)}, reply.crlf)
    yield frame("[DONE]", reply.crlf)


def json_answer(path, request, reply):
    words, choices = words_of(request, reply), choices_of(request)
    text = "".join(words)
    if path.endswith("/embeddings"):
        inputs = request["input"] if isinstance(request["input"], list) else [request["input"]]
        prompt = len(text_of(request).split())
        body = {
            "object": "list",
            "model": MODEL,
            "data": [{"object": "embedding", "index": i, "embedding": [0.25, -0.5, i]} for i in range(len(inputs))],
        }
        usage = {"prompt_tokens": prompt, "total_tokens": prompt} if reply.usage is ... else reply.usage
    else:
        usage = usage_of(request, reply, len(words) * choices)
        base = {"id": "cmpl-scripted", "created": CREATED, "model": MODEL, "system_fingerprint": "fp_scripted"}
        if path.endswith("/chat/completions"):
            body = {
                **base,
                "object": "chat.completion",
                "choices": [
                    {
                        "index": i,
                        "message": {"role": "assistant", "content": text},
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                    for i in range(choices)
                ],
            }
        else:
            body = {
                **base,
                "object": "text_completion",
                "choices": [
                    {"index": i, "text": text, "logprobs": None, "finish_reason": "stop"} for i in range(choices)
                ],
            }
    if reply.usage is not None:
        body["usage"] = usage
    body.update(reply.extra)
    return json.dumps(body).encode()


class ScriptedUpstream(ScriptedServer):
    default_reply = Reply

    @property
    def base_url(self):
        return f"{self.origin}/v1"

    # Scripting

    def fail_next(self, times, status, headers=(), error=None):
        error = error or {
            "message": f"scripted {status} from {MODEL} at 10.1.2.3:8000",
            "type": "scripted",
            "param": None,
            "code": None,
        }
        self.reply_next(Reply(status, headers, json_body={"error": error}), times)

    def stall_next(self, after, **reply):
        """The next stream stops after `after` frames (if negative, before its last ones) until the gate is released."""
        gate = self.gate()
        self.reply_next(Reply(insert={after: gate}, **reply))
        return gate

    def break_off_next(self, after, reset=False, **reply):
        self.reply_next(Reply(insert={after: BreakOff(reset)}, **reply))

    # Implementation

    def content(self, received, reply):
        kind = "application/json"
        if reply.steps is not None:
            steps = list(reply.steps)
        else:
            kind, steps = self.generated(received, reply)
        for position, step in reply.insert.items():
            steps.insert(position if position >= 0 else len(steps) + position, step)
        headers = {
            "content-type": kind,
            "server": "scripted/1.0",
            "x-upstream-secret-header": "leak",
            "date": "Mon, 23 Nov 2026 10:00:00 GMT",
        }
        if path_of(received).endswith("/messages"):
            headers |= upstream_messages.HEADERS
        return headers, steps if kind == "application/json" else iter(steps)

    @staticmethod
    def generated(received, reply):
        """The content type and the steps of an answer that is generated from its request."""
        path = path_of(received)
        request = received.form if "/audio/trans" in path else received.json
        for end, answer in ROUTES.items():
            if path.endswith(end):
                return answer(request, reply)
        if request.get("stream"):
            return "text/event-stream", list(stream_frames(path, request, reply))
        return "application/json", [json_answer(path, request, reply)]


def path_of(received):
    """The path of a request without its query."""
    return received.path.split("?")[0]


def chunk(delta=None, finish=None, index=0, **more):
    """The data of one event of a streamed chat. Without a delta and a finish reason it has no choices."""
    choices = [] if delta is finish is None else [{"index": index, "delta": delta or {}, "finish_reason": finish}]
    return {"id": "x", "object": "chat.completion.chunk", "created": CREATED, "model": MODEL, "choices": choices, **more}


ROLE = chunk({"role": "assistant", "content": ""})


def stream_of(*steps, content_type="text/event-stream", **reply):
    """A stream of these steps: texts and dicts become events; bytes, gates, pauses and breaks stay as they are."""
    frames = [frame(step) if isinstance(step, (dict, str)) else step for step in steps]
    return Reply(steps=frames, headers=[("content-type", content_type)], **reply)
