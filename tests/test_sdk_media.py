"""The unmodified OpenAI Python SDK on images, speech, transcriptions, translations and moderations."""

import base64
import io
import json
import wave

import pytest

from support.upstream import Reply
from support.wire import Connection, Stream

WORDS = "w0 w1 w2 w3 w4 w5 w6 w7"
IMAGES, SPEECH = "/v1/images/generations", "/v1/audio/speech"
TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"


@pytest.fixture
def sdk(site):
    with site.openai() as client:
        yield client


@pytest.fixture
def recording():
    """A WAV file of 1.25 s, with each possible byte in it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes((bytes(range(256)) + b"\r\n--\r\n" * 10) * 63 + bytes(92))
    return "r\u00e9cording.wav", file.getvalue(), "audio/wav"


# Images


def test_images_are_answered_whole(upstream, sdk, site):
    answer = sdk.images.generate(model=site.model, prompt="a red fox", n=2, size="1024x1024", quality="low")
    images = [base64.b64decode(one.b64_json) for one in answer.data]
    assert len(images) == 2 and all(image.startswith(b"\x89PNG") for image in images)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 32)
    assert upstream.requests[0].json == {
        "model": site.sent,
        "prompt": "a red fox",
        "n": 2,
        "size": "1024x1024",
        "quality": "low",
    }
    site.check_event(IMAGES, 3, 32, units={"images": 2})


def test_images_without_a_usage_are_counted(upstream, sdk, site):
    upstream.reply_next(Reply(usage=None))
    answer = sdk.images.generate(model=site.model, prompt="a red fox", n=3)
    assert len(answer.data) == 3 and answer.usage is None
    site.check_event(IMAGES, units={"images": 3})


def test_partial_images_are_streamed(sdk, site):
    events = list(sdk.images.generate(model=site.model, prompt="a fox", stream=True, partial_images=2))
    assert [event.type.removeprefix("image_generation.") for event in events] == ["partial_image"] * 2 + ["completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert len({event.b64_json for event in events}) == 3
    assert events[-1].usage.total_tokens == 18
    site.check_event(IMAGES, 2, 16, units={"images": 1})


# Speech


def test_speech_arrives_byte_for_byte(upstream, sdk, site):
    answer = sdk.audio.speech.create(
        model=site.model, voice="alloy", input="one two three", response_format="wav", speed=1.25
    )
    with wave.open(io.BytesIO(answer.content)) as reader:
        assert reader.getnframes() == 3 * 800
        assert reader.readframes(800) == bytes(range(200)) * 8
    assert answer.response.headers["content-type"] == "audio/wav"
    sent = {"voice": "alloy", "input": "one two three", "response_format": "wav", "speed": 1.25}
    assert upstream.requests[0].json == {"model": site.sent, **sent}
    site.check_event(SPEECH, units={"characters": 13})


def test_speech_is_streamed_as_it_is_made(upstream, sdk, site):
    gate = upstream.stall_next(after=1)
    streaming = sdk.audio.speech.with_streaming_response
    with streaming.create(model=site.model, voice="alloy", input="one two") as answer:
        pieces = answer.iter_bytes()
        first = next(pieces)
        gate.reached()
        gate.release()
        assert first + b"".join(pieces) == bytes(range(200)) * 16
        assert answer.headers["content-type"] == "audio/mpeg"
    site.check_event(SPEECH, units={"characters": 7})


def test_speech_is_streamed_as_events(site):
    body = {"model": site.model, "voice": "alloy", "input": "one two", "stream_format": "sse"}
    with Connection(site.origin.removeprefix("http://")) as connection:
        connection.request("POST", SPEECH, [("authorization", f"Bearer {site.key}")], body)
        status, headers = connection.read_head()
        assert (status, dict(headers)["content-type"]) == (200, "text/event-stream")
        *deltas, done = map(json.loads, Stream(connection))
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == bytes(range(200)) * 16
    assert done == {"type": "speech.audio.done", "usage": {"input_tokens": 2, "output_tokens": 2, "total_tokens": 4}}
    site.check_event(SPEECH, 2, 2, units={"characters": 7})


# Transcriptions and translations


def test_a_recording_is_transcribed(upstream, sdk, site, recording):
    answer = sdk.audio.transcriptions.create(
        model=site.model, file=recording, prompt="two names", language="en", temperature=0.5
    )
    assert answer.text == WORDS
    assert (answer.usage.type, answer.usage.input_tokens, answer.usage.output_tokens) == ("tokens", 15, 8)
    [received] = upstream.requests
    assert received.path == TRANSCRIPTIONS
    fields = {"model": site.sent, "prompt": "two names", "language": "en", "temperature": "0.5"}
    assert received.form == {**fields, "file": recording[1]}
    site.check_event(TRANSCRIPTIONS, 15, 8)


def test_a_transcription_can_report_its_duration(upstream, sdk, site, recording):
    upstream.reply_next(Reply(usage="duration"))
    answer = sdk.audio.transcriptions.create(model=site.model, file=recording)
    assert (answer.usage.type, answer.usage.seconds) == ("duration", 2)
    site.check_event(TRANSCRIPTIONS, units={"seconds": "2"})


def test_a_verbose_transcription_has_the_duration(sdk, site, recording):
    answer = sdk.audio.transcriptions.create(
        model=site.model, file=recording, response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert (answer.duration, answer.language, answer.text) == (1.25, "english", WORDS)
    assert [segment.text for segment in answer.segments] == [WORDS]
    assert answer.usage.seconds == 2
    site.check_event(TRANSCRIPTIONS, units={"seconds": "2"})


def test_a_transcription_as_text_is_passed_on(sdk, site, recording):
    assert sdk.audio.transcriptions.create(model=site.model, file=recording, response_format="text") == f"{WORDS}\n"


def test_a_transcription_is_streamed(upstream, sdk, site, recording):
    *deltas, done = sdk.audio.transcriptions.create(model=site.model, file=recording, stream=True)
    assert [delta.type for delta in deltas] == ["transcript.text.delta"] * 8
    assert "".join(delta.delta for delta in deltas).strip() == done.text == WORDS
    assert (done.usage.input_tokens, done.usage.output_tokens) == (13, 8)
    assert upstream.requests[0].form["stream"] == "true"
    site.check_event(TRANSCRIPTIONS, 13, 8)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_recording_is_translated(upstream, sdk, site, recording):
    assert sdk.audio.translations.create(model=site.model, file=recording).text == WORDS
    verbose = sdk.audio.translations.create(model=site.model, file=recording, response_format="verbose_json")
    assert (verbose.duration, verbose.text) == (1.25, WORDS)
    assert [received.path for received in upstream.requests] == [TRANSLATIONS] * 2


# Moderations


@pytest.mark.parametrize(
    "given, flags",
    [
        ("some violence here", [True]),
        (["some violence", "a kind word"], [True, False]),
        ([{"type": "text", "text": "a kind word"}], [False]),
    ],
)
def test_moderations_are_passed_on(upstream, sdk, site, given, flags):
    answer = sdk.moderations.create(model=site.model, input=given)
    assert [result.flagged for result in answer.results] == flags
    assert [result.categories.violence for result in answer.results] == flags
    assert answer.model == site.shown
    assert upstream.requests[0].json == {"model": site.sent, "input": given}
