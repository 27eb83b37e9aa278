"""A real llama.cpp server with a model of random weights.

The model writes a few hundred words in random order, but tokenizer, sampling, streaming and usage are llama.cpp's own.
The model is made once (a few hundred kilobytes) and kept under `tests/.cache`. The server runs in its own process, so
that a crash of the library cannot end the test run:

    python -m support.llama MODEL.gguf [MEAN|RANK]

With a kind of pooling, the server embeds or reranks instead of generating text.

It prints its address and serves until its standard input closes.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

CACHE = pathlib.Path(__file__).resolve().parent.parent / ".cache"
MODEL_VERSION = 2  # part of the file's name: raise it when the model changes

# Dimensions: small enough that a token costs microseconds, large enough that llama.cpp accepts the model.
WIDTH, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 64, 2, 4, 128, 4096

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)

ONSETS = "b c d f g h k l m n p r s t v w".split()
RHYMES = "an el im or un ait eem ost ind alk ough ary".split()


def vocabulary():
    """`(text, type)` of every token: three control tokens, the 256 bytes, then words with a space before them."""
    from gguf import TokenType

    yield "<unk>", TokenType.UNKNOWN
    yield "<s>", TokenType.CONTROL
    yield "</s>", TokenType.CONTROL
    for byte in range(256):
        yield f"<0x{byte:02X}>", TokenType.BYTE
    for onset in ONSETS:
        for rhyme in RHYMES:
            yield f"\u2581{onset}{rhyme}", TokenType.NORMAL
    # SentencePiece merges pairs of known pieces, so every prefix of a word must be a piece too.
    prefixes = {f"\u2581{o}{r}"[:n] for o in ONSETS for r in RHYMES for n in range(1, len(o + r) + 1)}
    words = {f"\u2581{o}{r}" for o in ONSETS for r in RHYMES}
    letters = {letter for piece in prefixes | words for letter in piece}
    for piece in sorted((prefixes | letters) - words):
        yield piece, TokenType.NORMAL


def write_model(path):
    """Writes a llama model with random weights that emits only words: its head has zero weights for control tokens and
    raw bytes."""
    import numpy
    from gguf import GGUFWriter, TokenType

    rng = numpy.random.default_rng(7)
    tokens = list(vocabulary())

    def weights(rows, columns, scale=0.05):
        return rng.normal(0, scale, (rows, columns)).astype(numpy.float32)

    writer = GGUFWriter(path, "llama")
    writer.add_name("tollgate-tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([-float(index) for index in range(len(tokens))])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)

    head = weights(len(tokens), WIDTH, 0.5)
    head[[kind != TokenType.NORMAL for _, kind in tokens]] = 0
    writer.add_tensor("token_embd.weight", weights(len(tokens), WIDTH, 1.0))
    writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, numpy.float32))
    writer.add_tensor("output.weight", head)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", numpy.ones(WIDTH, numpy.float32))
        writer.add_tensor(f"{block}.ffn_norm.weight", numpy.ones(WIDTH, numpy.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{block}.{part}.weight", weights(WIDTH, WIDTH))
        writer.add_tensor(f"{block}.ffn_gate.weight", weights(FEED_FORWARD, WIDTH))
        writer.add_tensor(f"{block}.ffn_up.weight", weights(FEED_FORWARD, WIDTH))
        writer.add_tensor(f"{block}.ffn_down.weight", weights(WIDTH, FEED_FORWARD))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tiny_model():
    """The cached model's path. A missing model is written under another name and then renamed, so that no half-written
    model is used."""
    path = CACHE / f"tiny-random-{MODEL_VERSION}.gguf"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        half = path.with_suffix(f".{os.getpid()}")
        write_model(half)
        half.rename(path)
    return path


class LlamaServer:
    """A running llama.cpp server; `base_url` is the base URL for an OpenAI SDK."""

    def __init__(self, pooling=""):
        model = str(tiny_model())
        self.log = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.llama", model, *filter(None, [pooling])],
            cwd=pathlib.Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        # llama.cpp may log to the same pipe, so look for our own line.
        for line in self.process.stdout:
            if line.startswith("serving "):
                self.address = line.split()[1]
                break
        else:
            self.log.seek(0)
            raise RuntimeError(f"llama.cpp did not start:\n{self.log.read()}")
        self.base_url = f"{self.address}/v1"

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


def serve(model, pooling=None):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"tiny-random"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = CONTEXT
    params.n_parallel = 4
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.embedding = pooling is not None
    if pooling:
        params.pooling_type = xllamacpp.llama_pooling_type[f"LLAMA_POOLING_TYPE_{pooling}"]
    server = xllamacpp.Server(params)
    urllib.request.urlopen(f"{server.listening_address}/health", timeout=30).read()
    print(f"serving {server.listening_address}", flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads have nothing to save, and joining them may take seconds


if __name__ == "__main__":
    serve(*sys.argv[1:])
