"""Usage reports as servers send them: a table of servers, the bytes of their answers, and the figures of the event.

Each stream has the text "abcdefgh", which counts as 2 tokens; each request has a prompt that counts as `PROMPT`. A shape
that is not known is counted, and never billed as 0.
"""

import json

import pytest

from support.gateway import message
from support.routes import form
from support.site import KINDS
from support.upstream import Reply

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
EMBEDDINGS, RERANK, IMAGES = "/v1/embeddings", "/v1/rerank", "/v1/images/generations"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
BODIES = {
    CHAT: {"messages": message("hello there")},
    RESPONSES: {"input": [{"role": "user", "content": "hello there"}]},
    MESSAGES: {"max_tokens": 500, "messages": message("hello there")},
    EMBEDDINGS: {"input": "hello and there"},
    RERANK: {"query": "hello", "documents": ["there", "there"]},
    IMAGES: {"prompt": "hello and there"},
}
PROMPT = 4  # of 15 bytes, the role of a message included
UP, COUNTED = "upstream", "counted"

ROLE = '{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]%s}'
TEXT = '{"choices":[{"index":0,"delta":{"content":"abcdefgh"},"finish_reason":null}]%s}'
STOP = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]%s}'
LAST = '{"choices":[]%s}'
TOOL = '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]}}]%s}'


def events(*data):
    return "".join(f"data: {one}\n\n" for one in data)


def stream(role="", text="", stop="", last=None):
    """A streamed chat. The arguments are further members of its chunks, without the comma ahead of them."""
    members = lambda text: text and f",{text}"  # noqa: E731
    frames = [ROLE % members(role), TEXT % members(text), STOP % members(stop)]
    frames += [LAST % members(last)] if last is not None else []
    return events(*frames, "[DONE]")


def chat(members):
    """A whole chat with further members."""
    said = '{"index":0,"message":{"role":"assistant","content":"abcdefgh"},"finish_reason":"stop"}'
    return '{"id":"x","object":"chat.completion","model":"m","choices":[%s],%s}' % (said, members)


USAGE = '"usage":{"prompt_tokens":900,"completion_tokens":30,"total_tokens":930}'
NULL = '"usage":null'
DETAILS = '"prompt_tokens_details":{"cached_tokens":400}'
VLLM = '"usage":{"prompt_tokens":900,"total_tokens":930,"completion_tokens":30,"prompt_tokens_details":{"cached_tokens":400}}'
SGLANG = '"usage":{"prompt_tokens":900,"total_tokens":930,"completion_tokens":30,%s,"reasoning_tokens":10}' % DETAILS
LLAMA = (
    '"usage":{"completion_tokens":30,"prompt_tokens":900,"total_tokens":930,%s},"timings":{"cache_n":400,"prompt_n":500,'
    '"prompt_ms":30.958,"predicted_n":30,"predicted_ms":661.064}'
) % DETAILS
TIMINGS = '"timings":{"prompt_n":900,"predicted_n":30,"predicted_ms":661.064}'
LM_STUDIO = '"usage":{"prompt_tokens":900,"completion_tokens":30,"total_tokens":930,"completion_tokens_details":{"reasoning_tokens":0}},"stats":{}'
DEEPSEEK = (
    '"usage":{"prompt_tokens":900,"completion_tokens":30,"total_tokens":930,%s,"completion_tokens_details":'
    '{"reasoning_tokens":20},"prompt_cache_hit_tokens":400,"prompt_cache_miss_tokens":500}'
) % DETAILS
MOONSHOT = '"usage":{"prompt_tokens":900,"completion_tokens":30,"total_tokens":930,"cached_tokens":400}'
AZURE = (
    '"usage":{"completion_tokens":30,"completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":0,'
    '"reasoning_tokens":20,"rejected_prediction_tokens":0},"prompt_tokens":900,"prompt_tokens_details":{"audio_tokens":0,'
    '"cached_tokens":400},"total_tokens":930}'
)
GEMINI = '"usage":{"completion_tokens":%d,"prompt_tokens":900,"total_tokens":%d}'
XAI = (
    '"usage":{"prompt_tokens":900,"completion_tokens":30,"total_tokens":1010,"prompt_tokens_details":{"text_tokens":900,'
    '"audio_tokens":0,"image_tokens":0,"cached_tokens":400},"completion_tokens_details":{"reasoning_tokens":80,'
    '"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},"num_sources_used":0}'
)
OPENROUTER = (
    '"usage":{"prompt_tokens":900,"completion_tokens":30,"total_tokens":930,"cost":0.0042,"is_byok":false,'
    '"prompt_tokens_details":{"cached_tokens":400,"cache_write_tokens":100},"cost_details":{"upstream_inference_cost":null}}'
)
MOONSHOT_STOP = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop",%s}]}' % MOONSHOT


def usage(text):
    return f'"usage":{{{text}}}'


ZEROS = usage('"prompt_tokens":0,"completion_tokens":0,"total_tokens":0')
PLAIN, IN_CACHE = [900, 30, 0, 0, UP], [900, 30, 400, 0, UP]
CHATS = {
    "OpenAI": (stream(NULL, NULL, NULL, AZURE), IN_CACHE),
    "OpenAI, whole": (chat(AZURE), IN_CACHE),
    "vLLM": (stream(last=VLLM), IN_CACHE),
    "vLLM without a cache": (stream(last=USAGE[:-1] + ',"prompt_tokens_details":null}'), PLAIN),
    "vLLM, whole": (chat(VLLM + ',"prompt_logprobs":null,"kv_transfer_params":null'), IN_CACHE),
    "vLLM, running totals": (
        stream(*(usage(f'"prompt_tokens":900,"total_tokens":{900 + n},"completion_tokens":{n}') for n in (0, 25, 30)), USAGE),
        PLAIN,
    ),
    "SGLang": (stream(NULL, NULL, NULL, SGLANG), IN_CACHE),
    "SGLang, whole": (chat(SGLANG + ',"metadata":{"weight_version":"default"}'), IN_CACHE),
    "llama.cpp": (stream(last=LLAMA), IN_CACHE),
    "llama.cpp, whole": (chat(LLAMA), IN_CACHE),
    "llama.cpp with timings alone": (stream(stop=TIMINGS), [PROMPT, 2, 0, 0, COUNTED]),
    "Ollama": (stream(*['"system_fingerprint":"fp_ollama"'] * 3, '"system_fingerprint":"fp_ollama",' + USAGE), PLAIN),
    "Ollama, whole": (chat(USAGE), PLAIN),
    "Ollama's own members": (
        stream(stop='"done":true,"prompt_eval_count":900,"eval_count":30'),
        [PROMPT, 2, 0, 0, COUNTED],
    ),
    "TGI": (stream(NULL, NULL, NULL, USAGE), PLAIN),
    "TGI, with the finish reason": (stream(NULL, NULL, USAGE), PLAIN),
    "TGI, with the finish reason and again": (stream(NULL, NULL, USAGE, USAGE), PLAIN),
    "LM Studio": (stream(last=LM_STUDIO), PLAIN),
    "LM Studio, whole": (chat(LM_STUDIO), PLAIN),
    "DeepSeek": (stream(NULL, NULL, DEEPSEEK), IN_CACHE),
    "DeepSeek, whole": (chat(DEEPSEEK), IN_CACHE),
    "DeepSeek without details": (stream(stop=DEEPSEEK.replace(DETAILS + ",", "")), IN_CACHE),
    "Moonshot": (events(ROLE % "", TEXT % "", MOONSHOT_STOP, "[DONE]"), IN_CACHE),
    "Moonshot, asked for usage": (events(TEXT % "", MOONSHOT_STOP, LAST % f",{MOONSHOT}", "[DONE]"), IN_CACHE),
    "Moonshot, whole": (chat(MOONSHOT), IN_CACHE),
    "Azure": (
        events('{"choices":[],"created":0,"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}')
        + stream(NULL, NULL, NULL, AZURE),
        IN_CACHE,
    ),
    "Azure, whole": (chat(AZURE + ',"prompt_filter_results":[{"prompt_index":0}]'), IN_CACHE),
    "Gemini": (stream(GEMINI % (1, 901), GEMINI % (25, 925), GEMINI % (30, 930)), PLAIN),
    "Gemini that thinks": (
        stream(usage('"prompt_tokens":900,"total_tokens":960'), GEMINI % (25, 1005), GEMINI % (30, 1010)),
        [900, 110, 0, 0, UP],
    ),
    "Gemini, whole": (chat(GEMINI % (30, 1010)), [900, 110, 0, 0, UP]),
    "Gemini's own members": (
        stream(stop='"usageMetadata":{"promptTokenCount":900,"candidatesTokenCount":30,"totalTokenCount":930}'),
        [PROMPT, 2, 0, 0, COUNTED],
    ),
    "xAI": (stream(last=XAI), [900, 110, 400, 0, UP]),
    "xAI, whole": (chat(XAI), [900, 110, 400, 0, UP]),
    "OpenRouter": (": OPENROUTER PROCESSING\n\n" + stream(last=OPENROUTER), [900, 30, 400, 100, UP]),
    "OpenRouter, whole": (chat(OPENROUTER), [900, 30, 400, 100, UP]),
    "Groq": (stream('"x_groq":{"id":"r"}', "", '"x_groq":{"id":"r",%s}' % USAGE, USAGE), PLAIN),
    "Groq's own member alone": (stream(stop='"x_groq":{"id":"r",%s}' % USAGE), [PROMPT, 2, 0, 0, COUNTED]),
    "Mistral": (stream(stop=USAGE), PLAIN),
    "Perplexity": (
        stream(*(usage(f'"prompt_tokens":900,"completion_tokens":{n},"total_tokens":{900 + n},"search_context_size":"low"') for n in (0, 2, 30))),
        PLAIN,
    ),
    "Cohere's own members": (stream(stop='"meta":{"billed_units":{"input_tokens":900}}'), [PROMPT, 2, 0, 0, COUNTED]),
    "Bedrock's own members": (
        stream(stop='"amazon-bedrock-invocationMetrics":{"inputTokenCount":900}'),
        [PROMPT, 2, 0, 0, COUNTED],
    ),
    "no usage": (stream(NULL, NULL, NULL, NULL), [PROMPT, 2, 0, 0, COUNTED]),
    "no usage, whole": (chat(NULL), [PROMPT, 2, 0, 0, COUNTED]),
    "a usage of another shape": (stream(last='"usage":{"tokens":{"input":900,"output":30}}'), [PROMPT, 2, 0, 0, COUNTED]),
    "a list of usages": (stream(last='"usage":[{"prompt_tokens":900}]'), [PROMPT, 2, 0, 0, COUNTED]),
    "a usage as text": (chat('"usage":"900/30"'), [PROMPT, 2, 0, 0, COUNTED]),
    "usage with exponents": (stream(last=usage('"prompt_tokens":9e2,"completion_tokens":3.0e1,"total_tokens":930.0')), PLAIN),
    "usage as strings": (chat(usage('"prompt_tokens":"900","completion_tokens":"30"')), [PROMPT, 2, 0, 0, COUNTED]),
    "a prompt as a string": (chat(usage('"prompt_tokens":"900","completion_tokens":30')), [PROMPT, 30, 0, 0, COUNTED]),
    "a negative output": (chat(usage('"prompt_tokens":900,"completion_tokens":-1')), [900, 2, 0, 0, COUNTED]),
    "a negative prompt": (stream(last=usage('"prompt_tokens":-1,"completion_tokens":30')), [PROMPT, 30, 0, 0, COUNTED]),
    "fractions": (stream(last=usage('"prompt_tokens":900.5,"completion_tokens":30')), [PROMPT, 30, 0, 0, COUNTED]),
    "booleans": (stream(last=usage('"prompt_tokens":true,"completion_tokens":30')), [PROMPT, 30, 0, 0, COUNTED]),
    "only an output": (stream(last=usage('"completion_tokens":30')), [PROMPT, 30, 0, 0, COUNTED]),
    "only a total": (stream(last=usage('"total_tokens":930')), [PROMPT, 2, 0, 0, COUNTED]),
    "cached above the prompt": (chat(VLLM.replace('cached_tokens":400', 'cached_tokens":4000')), [900, 30, 900, 0, UP]),
    "cached and written above the prompt": (
        chat(OPENROUTER.replace("400", "850")),
        [900, 30, 850, 50, UP],
    ),
    "zeros": (stream(last=ZEROS), [PROMPT, 2, 0, 0, COUNTED]),
    "zeros after a tool call": (
        events(TOOL % "", STOP % "", LAST % f",{ZEROS}", "[DONE]"),
        [PROMPT, 1, 0, 0, COUNTED],
    ),
    "zeros after true figures": (stream("", "", USAGE, ZEROS), PLAIN),
    "the names of responses": (
        stream(last=usage('"input_tokens":900,"output_tokens":30,"input_tokens_details":{"cached_tokens":400}')),
        IN_CACHE,
    ),
    "both names": (chat(USAGE[:-1] + ',"input_tokens":0,"output_tokens":0}'), PLAIN),
    "text after the last report": (stream(USAGE), [900, 32, 0, 0, COUNTED]),
}


def typed(*events):
    return "".join(f"event: {json.loads(event)['type']}\ndata: {event}\n\n" for event in events)


DELTA = '{"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":"abcdefgh"}'
ITEM = '{"type":"message","id":"i","role":"assistant","status":"completed","content":[{"type":"output_text","text":"abcdefgh","annotations":[]}]}'


def response(members, status="completed"):
    """A whole response with further members."""
    return '{"id":"r","object":"response","status":"%s","model":"m","output":[%s],%s}' % (status, ITEM, members)


def responses(members, last="completed"):
    """A streamed response. `members` are in its last event."""
    return typed(
        '{"type":"response.created","response":{"id":"r","status":"in_progress","model":"m","output":[],"usage":null}}',
        DELTA,
        '{"type":"response.output_text.done","text":"abcdefgh"}',
        '{"type":"response.output_item.done","item":%s}' % ITEM,
        '{"type":"response.%s","response":%s}' % (last, response(members, last)),
    )


OPENAI_RESPONSE = (
    '"usage":{"input_tokens":900,"input_tokens_details":{"cached_tokens":400,"cache_write_tokens":100},"output_tokens":30,'
    '"output_tokens_details":{"reasoning_tokens":20},"total_tokens":930}'
)
VLLM_RESPONSE = (
    '"usage":{"input_tokens":900,"input_tokens_details":{"cached_tokens":400,"input_tokens_per_turn":[],'
    '"cached_tokens_per_turn":[]},"output_tokens":30,"output_tokens_details":{"reasoning_tokens":0,"tool_output_tokens":0,'
    '"output_tokens_per_turn":[],"tool_output_tokens_per_turn":[]},"total_tokens":930}'
)
LLAMA_RESPONSE = '"usage":{"input_tokens":900,"output_tokens":30,"total_tokens":930,"input_tokens_details":{"cached_tokens":400}}'
OLLAMA_RESPONSE = (
    '"usage":{"input_tokens":900,"output_tokens":30,"total_tokens":930,"input_tokens_details":{"cached_tokens":0},'
    '"output_tokens_details":{"reasoning_tokens":0}}'
)
XAI_RESPONSE = OPENAI_RESPONSE[:-1] + ',"num_sources_used":0,"num_server_side_tools_used":0,"cost_in_usd_ticks":4200}'
RESPONSE_ROWS = {
    "OpenAI": (responses(OPENAI_RESPONSE), [900, 30, 400, 100, UP]),
    "OpenAI, whole": (response(OPENAI_RESPONSE), [900, 30, 400, 100, UP]),
    "OpenAI, incomplete": (responses(OPENAI_RESPONSE, "incomplete"), [900, 30, 400, 100, UP]),
    "vLLM": (responses(VLLM_RESPONSE), IN_CACHE),
    "vLLM, whole": (response(VLLM_RESPONSE), IN_CACHE),
    "llama.cpp": (responses(LLAMA_RESPONSE), IN_CACHE),
    "llama.cpp, whole": (response(LLAMA_RESPONSE), IN_CACHE),
    "LM Studio": (responses(OLLAMA_RESPONSE + ',"previous_response_id":null'), PLAIN),
    "LM Studio, whole": (response(OLLAMA_RESPONSE), PLAIN),
    "Ollama": (responses(OLLAMA_RESPONSE), PLAIN),
    "Ollama, whole": (response(OLLAMA_RESPONSE), PLAIN),
    "xAI": (responses(XAI_RESPONSE), [900, 30, 400, 100, UP]),
    "the names of chats": (responses(VLLM), IN_CACHE),
    "reasoning apart": (response(OLLAMA_RESPONSE.replace("930", "1010")), [900, 110, 0, 0, UP]),
    "no usage": (responses(NULL), [PROMPT, 2, 0, 0, COUNTED]),
    "no usage, whole": (response(NULL), [PROMPT, 2, 0, 0, COUNTED]),
    "no usage member": (responses('"error":null'), [PROMPT, 2, 0, 0, COUNTED]),
    "zeros": (responses(usage('"input_tokens":0,"output_tokens":0,"total_tokens":0')), [PROMPT, 2, 0, 0, COUNTED]),
    "another shape": (response(usage('"in":900,"out":30')), [PROMPT, 2, 0, 0, COUNTED]),
    "an output as a string": (responses(usage('"input_tokens":900,"output_tokens":"30"')), [900, 2, 0, 0, COUNTED]),
    "usage beside the response": (
        typed(DELTA, '{"type":"response.completed","response":{"status":"completed"},%s}' % LLAMA_RESPONSE),
        IN_CACHE,
    ),
}


def messages(start, delta, stop=""):
    """A streamed message. The arguments are the members of the usage in its first and in its last event."""
    return typed(
        '{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],'
        '"stop_reason":null,"usage":{%s}}}' % start,
        '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        '{"type":"ping"}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"abcdefgh"}}',
        '{"type":"content_block_stop","index":0}',
        '{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null}%s}' % (delta and ',"usage":{%s}' % delta),
        '{"type":"message_stop"%s}' % stop,
    )


def whole_message(members):
    return (
        '{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"abcdefgh"}],'
        '"stop_reason":"end_turn","stop_sequence":null,"usage":{%s}}' % members
    )


CACHE = '"cache_creation_input_tokens":100,"cache_read_input_tokens":400'
READ = f'"input_tokens":400,{CACHE},"cache_creation":{{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":0}}'
START = READ + ',"output_tokens":1,"service_tier":"standard","inference_geo":"global"'
ALL = f'"input_tokens":400,{CACHE},"output_tokens":30,"server_tool_use":{{"web_search_requests":1}}'
MESSAGE_ROWS = {
    "Anthropic": (messages(START, '"output_tokens":30'), [900, 30, 400, 100, UP]),
    "Anthropic, all figures at the end": (messages(START, ALL), [900, 30, 400, 100, UP]),
    "Anthropic, whole": (whole_message(READ + ',"output_tokens":30'), [900, 30, 400, 100, UP]),
    "Anthropic without a cache": (
        messages('"input_tokens":900,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":4', '"output_tokens":30'),
        PLAIN,
    ),
    "Anthropic, everything from the cache": (
        whole_message('"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":900,"output_tokens":30'),
        [900, 30, 900, 0, UP],
    ),
    "Bedrock": (
        messages(START, '"output_tokens":30', ',"amazon-bedrock-invocationMetrics":{"inputTokenCount":7,"outputTokenCount":7}'),
        [900, 30, 400, 100, UP],
    ),
    "vLLM": (messages('"input_tokens":900,"output_tokens":0', '"input_tokens":900,"output_tokens":30'), PLAIN),
    "vLLM, whole": (whole_message('"input_tokens":900,"output_tokens":30'), PLAIN),
    "llama.cpp": (
        messages('"cache_read_input_tokens":400,"input_tokens":500,"output_tokens":0', '"output_tokens":30'),
        IN_CACHE,
    ),
    "llama.cpp, whole": (whole_message('"cache_read_input_tokens":400,"input_tokens":500,"output_tokens":30'), IN_CACHE),
    "LM Studio": (messages('"input_tokens":900,"output_tokens":0', '"output_tokens":30'), PLAIN),
    "LM Studio, whole": (whole_message('"input_tokens":900,"output_tokens":30'), PLAIN),
    "Ollama": (messages('"input_tokens":700,"output_tokens":0', '"input_tokens":900,"output_tokens":30'), PLAIN),
    "Ollama, whole": (whole_message('"input_tokens":900,"output_tokens":30'), PLAIN),
    "zeros first": (messages('"input_tokens":0,"output_tokens":0', f'"input_tokens":400,{CACHE},"output_tokens":30'), [900, 30, 400, 100, UP]),
    "null at the end": (
        messages(START, '"output_tokens":30,"input_tokens":null,"cache_read_input_tokens":null'),
        [900, 30, 400, 100, UP],
    ),
    "no report at the end": (messages('"input_tokens":900,"output_tokens":1', ""), [900, 3, 0, 0, COUNTED]),
    "an output of zero at the end": (
        messages('"input_tokens":900,"output_tokens":0', '"output_tokens":0'),
        [900, 2, 0, 0, COUNTED],
    ),
    "zeros": (messages('"input_tokens":0,"output_tokens":0', '"output_tokens":0'), [PROMPT, 2, 0, 0, COUNTED]),
    "no figures": (messages("", ""), [PROMPT, 2, 0, 0, COUNTED]),
    "no figures, whole": (whole_message(""), [PROMPT, 2, 0, 0, COUNTED]),
    "only an output": (messages("", '"output_tokens":30'), [PROMPT, 30, 0, 0, COUNTED]),
    "strings": (whole_message('"input_tokens":"900","output_tokens":"30"'), [PROMPT, 2, 0, 0, COUNTED]),
    "a negative cache": (
        whole_message('"input_tokens":900,"cache_read_input_tokens":-5,"output_tokens":30'),
        PLAIN,
    ),
    "the names of chats": (whole_message('"prompt_tokens":900,"completion_tokens":30'), PLAIN),
}

def embedding(members):
    return '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m"%s}' % (members and f",{members}")


def ranking(members):
    return '{"id":"r","model":"m","results":[{"index":0,"relevance_score":0.5}]%s}' % (members and f",{members}")


INPUT = [900, 0, 0, 0, UP]
NO_INPUT = [PROMPT, 0, 0, 0, COUNTED]
EMBEDDING_ROWS = {
    "OpenAI": (embedding(usage('"prompt_tokens":900,"total_tokens":900')), INPUT),
    "vLLM": (
        embedding(usage('"prompt_tokens":900,"total_tokens":900,"completion_tokens":0,"prompt_tokens_details":null')),
        INPUT,
    ),
    "Voyage": (embedding(usage('"total_tokens":900')), INPUT),
    "a prompt of zero": (embedding(usage('"prompt_tokens":0,"total_tokens":900')), INPUT),
    "zeros": (embedding(usage('"prompt_tokens":0,"total_tokens":0')), NO_INPUT),
    "strings": (embedding(usage('"prompt_tokens":"900","total_tokens":"900"')), NO_INPUT),
    "Ollama's own members": (embedding('"prompt_eval_count":900'), NO_INPUT),
    "no usage": (embedding(""), NO_INPUT),
}
RERANK_ROWS = {
    "vLLM": (ranking(usage('"total_tokens":900')), INPUT),
    "Jina": (ranking(usage('"prompt_tokens":900,"total_tokens":900')), INPUT),
    "Voyage": (ranking(usage('"total_tokens":900')).replace("results", "data"), INPUT),
    "SGLang": ('[{"score":0.5,"document":"there","index":0,"meta_info":{"prompt_tokens":900}}]', NO_INPUT),
    "Cohere's own members": (ranking('"meta":{"billed_units":{"search_units":1}}'), NO_INPUT),
    "no usage": (ranking(""), NO_INPUT),
}

ROWS = [
    *((CHAT, server, *row) for server, row in CHATS.items()),
    *((RESPONSES, server, *row) for server, row in RESPONSE_ROWS.items()),
    *((MESSAGES, server, *row) for server, row in MESSAGE_ROWS.items()),
    *((EMBEDDINGS, server, *row) for server, row in EMBEDDING_ROWS.items()),
    *((RERANK, server, *row) for server, row in RERANK_ROWS.items()),
]


@pytest.mark.parametrize("path, server, sent, billed", ROWS, ids=[f"{row[0]} {row[1]}" for row in ROWS])
def test_a_report_is_billed_as_its_server_means_it(gateway, upstream, customer, slug, key, path, server, sent, billed):
    streamed = not sent.startswith(("{", "["))
    kind = "text/event-stream" if streamed else "application/json"
    upstream.reply_next(Reply(steps=[sent.encode()], headers=[("content-type", kind)]))
    answer = customer.post(path, {"model": slug, "stream": streamed, **BODIES[path]})
    assert answer.status == 200, answer
    [event] = gateway.events(key)
    got = [*(event["tokens"][kind] for kind in KINDS), event["usageSource"]]
    assert (got, event["streamed"]) == (billed, streamed)


PICTURES = '{"created":1,"data":[{"b64_json":"AAAA"},{"url":"http://x"}]%s}'
IMAGE_USAGE = usage('"input_tokens":900,"input_tokens_details":{"text_tokens":900,"image_tokens":0},"output_tokens":30,"total_tokens":930')
UNITS = [
    (IMAGES, "OpenAI", PICTURES % f",{IMAGE_USAGE}", PLAIN, {"images": 2}),
    (IMAGES, "no usage", PICTURES % "", NO_INPUT, {"images": 2}),
    (IMAGES, "zeros", PICTURES % (",%s" % usage('"input_tokens":0,"output_tokens":0')), NO_INPUT, {"images": 2}),
    (
        TRANSCRIPTIONS,
        "OpenAI",
        '{"text":"abcdefgh","usage":{"type":"tokens","input_tokens":900,"output_tokens":30,"total_tokens":930}}',
        PLAIN,
        None,
    ),
    (TRANSCRIPTIONS, "vLLM", '{"text":"abcdefgh","usage":{"type":"duration","seconds":7}}', [1, 2, 0, 0, COUNTED], {"seconds": "7"}),
    (TRANSCRIPTIONS, "whisper.cpp", '{"text":"abcdefgh","duration":6.54}', [1, 2, 0, 0, COUNTED], {"seconds": "6.54"}),
    (TRANSCRIPTIONS, "a duration as text", '{"text":"abcdefgh","duration":"6.54"}', [1, 2, 0, 0, COUNTED], {"seconds": "6.54"}),
    (TRANSCRIPTIONS, "a negative duration", '{"text":"abcdefgh","duration":-1}', [1, 2, 0, 0, COUNTED], None),
    (
        TRANSCRIPTIONS,
        "two durations",
        '{"text":"abcdefgh","duration":6.54,"usage":{"type":"duration","seconds":7}}',
        [1, 2, 0, 0, COUNTED],
        {"seconds": "7"},
    ),
]


@pytest.mark.parametrize("path, server, sent, billed, units", UNITS, ids=[f"{row[0]} {row[1]}" for row in UNITS])
def test_pictures_and_seconds_are_billed(gateway, upstream, customer, slug, key, path, server, sent, billed, units):
    upstream.reply_next(Reply(steps=[sent.encode()]))
    if path == TRANSCRIPTIONS:
        headers, body = form({"model": slug, "file": b"sound"})
    else:
        headers, body = [], {"model": slug, **BODIES[path]}
    assert customer.post(path, body, headers).status == 200
    [event] = gateway.events(key)
    assert [*(event["tokens"][kind] for kind in KINDS), event["usageSource"]] == billed
    assert event["units"] == units
