"""The scripted model server's answers to `/v1/rerank`, in the shape of vLLM and Jina, and `/v1/moderations`, in
OpenAI's."""

import json

from .reply import MODEL, count_words, texts_of

CATEGORIES = {  # with the kinds of input that each applies to
    "harassment": ["text"],
    "harassment/threatening": ["text"],
    "hate": ["text"],
    "hate/threatening": ["text"],
    "illicit": ["text"],
    "illicit/violent": ["text"],
    "self-harm": ["text", "image"],
    "self-harm/instructions": ["text", "image"],
    "self-harm/intent": ["text", "image"],
    "sexual": ["text", "image"],
    "sexual/minors": ["text"],
    "violence": ["text", "image"],
    "violence/graphic": ["text", "image"],
}


def rerank(request, reply):
    """A document's score is the share of the query's words in it. The query is read anew with each document."""
    query = request["query"].split()
    documents = [one if isinstance(one, str) else one["text"] for one in request["documents"]]
    results = []
    for index, text in enumerate(documents):
        score = sum(word in text.split() for word in query) / len(query)
        result = {"index": index, "relevance_score": score}
        if request.get("return_documents", True):
            result["document"] = {"text": text}
        results.append(result)
    results.sort(key=lambda result: -result["relevance_score"])
    tokens = len(query) * len(documents) + count_words(documents)
    body = {"id": "rerank-scripted", "model": MODEL, "results": results[: request.get("top_n")]}
    if reply.usage is not None:
        body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens} if reply.usage is ... else reply.usage
    return "application/json", [json.dumps(body | reply.extra).encode()]


def moderations(request, reply):
    """A text that has the name of a category among its words is flagged for it. The real API reports no usage."""
    given = request["input"]
    if isinstance(given, str) or isinstance(given[0], dict):
        given = [given]
    results = []
    for one in given:
        found = " ".join(texts_of(one)).split()
        flags = {name: name in found for name in CATEGORIES}
        results.append(
            {
                "flagged": any(flags.values()),
                "categories": flags,
                "category_scores": {name: 0.99 if flag else 0.01 for name, flag in flags.items()},
                "category_applied_input_types": CATEGORIES,
            }
        )
    body = {"id": "modr-scripted", "model": MODEL, "results": results}
    if isinstance(reply.usage, dict):
        body["usage"] = reply.usage
    return "application/json", [json.dumps(body | reply.extra).encode()]
