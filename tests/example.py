# SPDX-License-Identifier: MIT
"""The README's example in Python, by ctypes alone: example.py LIBTHIMBLE.SO MODEL

Tells the story of example.c and, on the last line, the hash of all logits that its tokens were drawn
from, as `thimble run --hash` does. Any language that can call C does the same.
"""
import ctypes
import sys
from ctypes import byref, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_uint8, c_void_p

OK, MORE = 0, 1
KV_Q8, ENCODE_BOS, HASH_START, ALIGNMENT = 1, 1, 0xCBF29CE484222325, 64


class Fault(ctypes.Structure):
    _fields_ = [("what", c_char_p), ("found", c_uint64), ("expected", c_uint64), ("offset", c_uint64)]


class Model(ctypes.Structure):
    _fields_ = [("image", c_void_p), ("image_bytes", c_size_t), ("n_params", c_uint64)] + [
        (name, c_uint32) for name in (
            "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "n_ctx",
            "weight_type", "group", "row_tile", "max_token_bytes")] + [
        ("bos_id", c_int32), ("eos_id", c_int32), ("end_of_turn_id", c_int32), ("n_tokens", c_uint32),
        ("fault", Fault)]


# Settings go with their size, so a definition may end where the program's needs do: what is not
# there counts as 0.
class Config(ctypes.Structure):
    _fields_ = [("n_ctx", c_uint32), ("n_batch", c_uint32), ("isa", c_char_p), ("kv_type", c_uint32),
                ("n_candidates", c_uint32)]


class Sampling(ctypes.Structure):
    _fields_ = [("temperature", c_float), ("top_p", c_float), ("min_p", c_float),
                ("repetition_penalty", c_float), ("repetition_window", c_uint32), ("top_k", c_uint32),
                ("seed", c_uint64)]


class Decoder(ctypes.Structure):
    _fields_ = [("pending", c_uint8 * 4), ("n_pending", c_uint8), ("started", c_uint8)]


def load(path):
    lib = ctypes.CDLL(path)
    model, session, tokens = ctypes.POINTER(Model), c_void_p, ctypes.POINTER(c_int32)
    for name, result, arguments in (
            ("status_text", c_char_p, [c_int32]),
            ("model_open", c_int32, [model, c_void_p, c_size_t]),
            ("is_end", c_int32, [model, c_int32]),
            ("session_bytes_sized", c_size_t, [model, ctypes.POINTER(Config), c_size_t]),
            ("session_init_sized", c_int32, [ctypes.POINTER(session), model, ctypes.POINTER(Config),
                                             c_size_t, c_void_p, c_size_t]),
            ("encode", c_int32, [session, c_char_p, c_size_t, c_uint32, tokens, c_size_t]),
            ("feed", c_int32, [session, tokens, c_size_t]),
            ("step", c_int32, [session, c_uint64]),
            ("sample_sized", c_int32, [session, ctypes.POINTER(Sampling), c_size_t]),
            ("decode", c_int32, [model, ctypes.POINTER(Decoder), c_int32, c_char_p, c_size_t]),
            ("logits_hash", c_uint64, [session, c_uint64])):
        function = getattr(lib, "thimble_" + name)
        function.restype, function.argtypes = result, arguments
    return lib


def aligned(size):
    """A block of memory, and the address in it that is aligned as image and arena have to be."""
    block = ctypes.create_string_buffer(size + ALIGNMENT)
    return block, (ctypes.addressof(block) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def main(library, path):
    lib = load(library)

    def checked(status):
        if status < 0:
            sys.exit("%s: %s" % (path, lib.thimble_status_text(status).decode()))
        return status

    try:
        data = open(path, "rb").read()
    except OSError as error:
        sys.exit("%s: %s" % (path, error.strerror))
    image, image_at = aligned(len(data))
    ctypes.memmove(image_at, data, len(data))
    model = Model()
    checked(lib.thimble_model_open(byref(model), image_at, len(data)))

    config = Config(n_ctx=256, kv_type=KV_Q8, n_candidates=40)
    size = lib.thimble_session_bytes_sized(byref(model), byref(config), ctypes.sizeof(config))
    arena, arena_at = aligned(size)
    session = c_void_p()
    checked(lib.thimble_session_init_sized(byref(session), byref(model), byref(config),
                                           ctypes.sizeof(config), arena_at, size))

    sampling = Sampling(temperature=0.7, top_p=0.9, top_k=40, seed=7)
    decoder, tokens, text = Decoder(), (c_int32 * 32)(), ctypes.create_string_buffer(64)
    prompt, hashed = b"Once upon a time", HASH_START
    n = checked(lib.thimble_encode(session, prompt, len(prompt), ENCODE_BOS, tokens, len(tokens)))
    while not lib.thimble_is_end(byref(model), tokens[n - 1]):
        for token in tokens[:n]:
            told = checked(lib.thimble_decode(byref(model), byref(decoder), token, text, len(text)))
            sys.stdout.buffer.write(text.raw[:told])
        if lib.thimble_feed(session, tokens, n) != OK:
            break  # the context is full
        while lib.thimble_step(session, 10000000) == MORE:
            pass  # other work
        hashed = lib.thimble_logits_hash(session, hashed)
        tokens[0] = checked(lib.thimble_sample_sized(session, byref(sampling), ctypes.sizeof(sampling)))
        n = 1
    sys.stdout.buffer.write(b"\n")
    sys.stdout.flush()
    print("logits-hash 0x%016x" % hashed)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: example.py LIBTHIMBLE.SO MODEL")
    main(*sys.argv[1:])
