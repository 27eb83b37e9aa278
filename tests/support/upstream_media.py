"""The scripted model server's answers to the routes for images and audio, in OpenAI's shapes.

Images are real PNG files of one pixel and speech as WAV is a real file; other formats are arbitrary bytes. An uploaded
WAV file lasts as long as its header says, any other file a second for each `BYTES_PER_SECOND`.
"""

import base64
import io
import json
import math
import struct
import wave
import zlib

from .reply import CREATED, count_words, typed_frame, words

IMAGE_TOKENS = 16  # of one image
AUDIO_TOKENS = 10  # of a second of audio
BYTES_PER_SECOND = 16_000
SPEECH_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


# Images


def png(shade):
    """A PNG file of one grey pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes([0, shade]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def image_text(shade):
    return base64.b64encode(png(shade)).decode()


def images(request, reply):
    """`n` images; streamed, `partial_images` unfinished ones and the whole one."""
    count = request.get("n") or 1
    prompt = count_words([request["prompt"]])
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"text_tokens": prompt, "image_tokens": 0},
        "output_tokens": IMAGE_TOKENS * count,
        "total_tokens": prompt + IMAGE_TOKENS * count,
    }
    reported = {} if reply.usage is None else {"usage": usage if reply.usage is ... else reply.usage}
    made = {"background": "opaque", "output_format": "png", "quality": "medium", "size": "1024x1024"}
    if not request.get("stream"):
        data = [{"b64_json": image_text(index)} for index in range(count)]
        body = {"created": CREATED, **made, "data": data, **reported, **reply.extra}
        return "application/json", [json.dumps(body).encode()]
    made["created_at"] = CREATED
    partial = [
        {"type": "image_generation.partial_image", "partial_image_index": index, "b64_json": image_text(index), **made}
        for index in range(request.get("partial_images") or 0)
    ]
    whole = {"type": "image_generation.completed", "b64_json": image_text(255), **made, **reported, **reply.extra}
    return "text/event-stream", [typed_frame(event, reply.crlf) for event in [*partial, whole]]


# Speech


def audio_pieces(count, kind):
    """The bytes of `count` words of speech, a tenth of a second each."""
    samples = bytes(range(200)) * 8
    pieces = [samples] * count
    if kind == "wav":
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(8000)
            writer.writeframes(samples * count)
        pieces[:1] = [file.getvalue()[: 44 + len(samples)]]
    return pieces


def speech(request, reply):
    """A piece of audio for each word, as bytes or as events. Only events report a usage."""
    said = count_words([request["input"]])
    kind = request.get("response_format") or "mp3"
    pieces = audio_pieces(said if reply.words is None else reply.words, kind)
    if request.get("stream_format") != "sse":
        return SPEECH_TYPES[kind], pieces
    usage = {"input_tokens": said, "output_tokens": len(pieces), "total_tokens": said + len(pieces)}
    reported = {} if reply.usage is None else {"usage": usage if reply.usage is ... else reply.usage}
    events = [{"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()} for piece in pieces]
    events.append({"type": "speech.audio.done", **reported, **reply.extra})
    return "text/event-stream", [typed_frame(event, reply.crlf) for event in events]


# Transcriptions and translations


def duration_of(data):
    """The duration of an uploaded file in seconds."""
    try:
        with wave.open(io.BytesIO(data)) as reader:
            return reader.getnframes() / reader.getframerate()
    except (wave.Error, EOFError):
        return len(data) / BYTES_PER_SECOND


def transcription_usage(form, reply, said, duration):
    """Tokens, or whole seconds if the format is verbose or the reply's usage is "duration"."""
    if isinstance(reply.usage, dict):
        return reply.usage
    if reply.usage == "duration" or form.get("response_format") == "verbose_json":
        return {"type": "duration", "seconds": math.ceil(duration)}
    audio, text = math.ceil(duration * AUDIO_TOKENS), count_words([form.get("prompt", "")])
    return {
        "type": "tokens",
        "input_tokens": audio + text,
        "input_token_details": {"audio_tokens": audio, "text_tokens": text},
        "output_tokens": said,
        "total_tokens": audio + text + said,
    }


def transcribe(form, reply, task):
    said = words(8 if reply.words is None else reply.words)
    text, duration = "".join(said).strip(), duration_of(form["file"])
    usage = transcription_usage(form, reply, len(said), duration)
    reported = {} if reply.usage is None else {"usage": usage}
    if form.get("stream") == "true":
        events = [{"type": "transcript.text.delta", "delta": word} for word in said]
        events.append({"type": "transcript.text.done", "text": text, **reported, **reply.extra})
        return "text/event-stream", [typed_frame(event, reply.crlf) for event in events]
    kind = form.get("response_format") or "json"
    if kind == "text":
        return "text/plain; charset=utf-8", [f"{text}\n".encode()]
    body = {"text": text}
    if kind == "verbose_json":
        segment = {"id": 0, "seek": 0, "start": 0.0, "end": duration, "text": text, "tokens": list(range(len(said)))}
        segment |= {"temperature": 0.0, "avg_logprob": -0.25, "compression_ratio": 1.25, "no_speech_prob": 0.01}
        body |= {"task": task, "language": "english", "duration": duration, "segments": [segment]}
    # The real API reports no usage of a translation.
    if task == "transcribe" or isinstance(reply.usage, dict):
        body |= reported
    return "application/json", [json.dumps(body | reply.extra).encode()]


def transcriptions(form, reply):
    return transcribe(form, reply, "transcribe")


def translations(form, reply):
    return transcribe(form, reply, "translate")
