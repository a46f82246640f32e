"""Small tokenisers in the layouts that transformers writes, and the ids and texts of the reference for a set of texts.

    python tests/reference/make_tokenizers.py [--train]

writes tests/data/tokenizers/expected.json from the folders tests/data/tokenizers/<name>/. With --train these are made first; the trainer breaks ties by
chance, so they come out a little different each time, and make_text_encoders.py, which uses two of them, must be run afterwards. The reference classes are PreTrainedTokenizerFast and CLIPTokenizer;
LlamaTokenizerFast of transformers 5 rebuilds byte-level files with SentencePiece's rules and gives other ids.
"""
import json
import pathlib
import shutil
import sys

import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "data" / "tokenizers"

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

CORPUS = [
    "A person walks along the beach at sunset while the waves roll in behind them, and the camera slowly moves to the left.",
    "The woman in the red coat turns her head and smiles; it's raining, she doesn't mind, they've seen it before.",
    "Describe the video by detailing the following aspects: the main content and theme of the video, the color, shape, size, texture.",
    "An old man plays the violin in a park. He'll stop at 12:30, or at 13:45, or in 2026. I'm sure we're early, I'd wait.",
    "Der Fußgänger überquert die Straße. Ça va déjà très bien, n'est-ce pas? Ελληνικά και русский текст, 日本語の文章。",
    "two people dance on a stage, bright lights, slow motion, 4k, high detail, 35 mm film, shallow depth of field",
    "camera movements and transitions used in the video, background environment, light, style and atmosphere",
]

TEXTS = [
    "",
    " ",
    "a",
    "A person walks along the beach.",
    "  leading and   inner    runs of spaces  ",
    "tabs\tand\nnew\n\n lines \r\n mixed\u00a0no-break\u3000ideographic\u2003em \u200bzero",
    "it's IT'S they've We'LL I'd 'tis rock'n'roll '\u017f",
    "1 12 123 1234 12345 3.14 1,000,000 \u0663\u0664\u0665 \u00bd \u2167 \u2460",
    "cafe\u0301 caf\u00e9 A\u030a \u00c5 \u212b \u1e9b\u0323 \ufb01ne \uff26\uff55\uff4c\uff4c",
    "\u0130stanbul \u0131\u015f\u0131k STRASSE Stra\u00dfe \u1e9e \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u039f\u0394\u039f\u03a3",
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002 \u4e2d\u6587\u6d4b\u8bd5 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \u2764\ufe0f \U0001f44d\U0001f3fd",
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe<|eot_id|><|begin_of_text|>",
    "<|startoftext|>a photo<|endoftext|> of <|ENDOFTEXT|>",
    "left  [L]  [R]  right[W]word [W] x[W] [N]orm [n] [l]",
    "punctuation!? (nested [brackets]) {curly} -- \u2026 \u201cquotes\u201d \u00bfqu\u00e9? a_b-c/d\\e @#$%^&*~`|<>",
    "https://example.org/path?x=1&y=%20 someone@example.org",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "x\u0301\u0323\u0302 e\u0323\u0301 \u0344 \u1100\u1161\u11a8 q\u0307\u0323",
    "control\u0001\u001f\u007f\u0085 next\u2028line\u180e mongolian \ufeffbom \ufffd \ue000",
    "lll eeeee ooooo \u0441\u0441\u0441 \u0441\u0441\u0441\u0441\u0441 -----",  # equal merges side by side: the leftmost goes first
    "The quick brown fox jumps over the lazy dog, again and again, until the camera stops.\n\n\n   End",
]
HELD_BACK = [
    "She's got 99 problems; he'd had 1001 nights\u2014\u201cna\u00efve\u201d co\u00f6peration \u00e0 la carte \u2116 5",
    "\t\n  \n\tx  \u00a0\u00a0y\r\r\nz  ",
    "\u0415\u0301\u043b\u043a\u0430 \u0438\u0306 \u0439 \u0391\u0301 \u01c5 \u01c4\u2126 \u212a\u2125",
    "[L][R] [L]  [W][W] [N][N] <|eot_id|><|eot_id|> <|endoftext|><|startoftext|>",
    "\U0001f3f3\ufe0f\u200d\U0001f308\U0001f469\U0001f3ff\u200d\U0001f680 \u231a\ufe0e 1\ufe0f\u20e3",
    "HELLO\u0130\u0130 W\u00d6RLD \u1c90\u10d0 \ua64a \U00010400\U00010428 \uff21",
]


def train(normalizer, pre_tokenizer, vocab_size, special, **bpe):
    trainer_options = {}
    if "end_of_word_suffix" in bpe:
        trainer_options["end_of_word_suffix"] = bpe["end_of_word_suffix"]
    tokenizer = Tokenizer(models.BPE(**bpe))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False, min_frequency=2,
                                                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), **trainer_options))
    return tokenizer


def byte_level(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def prune_merges(folder, step):
    """Takes every `step`-th merge away but leaves its token, so that ignore_merges makes a difference."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    merges = data["model"]["merges"]
    data["model"]["merges"] = [m for i, m in enumerate(merges) if i % step]
    path.write_text(json.dumps(data, ensure_ascii=False))


def edit(path, **changes):
    data = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            data.pop(key, None)
        else:
            data[key] = value
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def fresh(name):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def llama3(name, ignore_merges, old):
    folder = fresh(name)
    tokenizer = train(None, byte_level(LLAMA3), 600, [], ignore_merges=ignore_merges)
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<pad>"]
    tokenizer.add_special_tokens(specials)
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", special_tokens=[("<|begin_of_text|>", bos)])])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>", pad_token="<pad>",
                            model_max_length=256).save_pretrained(folder)
    prune_merges(folder, 3)
    if old:  # as transformers 4 wrote it: merges as text, a list of added tokens, a special_tokens_map.json
        data = json.loads((folder / "tokenizer.json").read_text())
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
        (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False))
        added = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in data["added_tokens"]}
        edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", backend=None, added_tokens_decoder=added, clean_up_tokenization_spaces=True)
        token = lambda text: {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
        (folder / "special_tokens_map.json").write_text(json.dumps(
            {"bos_token": token("<|begin_of_text|>"), "eos_token": token("<|end_of_text|>"), "pad_token": token("<pad>")}, indent=1) + "\n")


def qwen2(name):
    folder = fresh(name)
    tokenizer = train(normalizers.NFC(), byte_level(QWEN2), 520, [])
    tokenizer.add_special_tokens(["<|endoftext|>", "<|eot_id|>"])
    tokenizer.add_tokens([AddedToken("[L]", lstrip=True), AddedToken("[R]", rstrip=True), AddedToken("[W]", single_word=True), AddedToken("[N]", normalized=False)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>").save_pretrained(folder)


def unusual(name):
    """Steps that published byte-level files rarely have, together: every behaviour, Digits, Punctuation, Strip, Prepend, GPT-2's own pattern."""
    folder = fresh(name)
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(), normalizers.Replace("--", "\u2014"), normalizers.Prepend(" "),
                                       normalizers.NFD(), normalizers.StripAccents(), normalizers.NFKD(), normalizers.Lowercase()])
    pre = pre_tokenizers.Sequence([
        pre_tokenizers.Split("/", "merged_with_previous"), pre_tokenizers.Split(Regex(r"[@#]+"), "merged_with_next"),
        pre_tokenizers.Split(Regex(r"\b[xyz]\w*"), "contiguous"), pre_tokenizers.Split(Regex(r"[^,;\s]{3,5}"), "isolated", invert=True),
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation("isolated"), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)])
    tokenizer = train(normalizer, pre, 450, ["[UNK]", "[CLS]", "[SEP]"], unk_token="[UNK]")
    tokenizer.add_tokens([AddedToken("[L]", lstrip=True), AddedToken("[W]", single_word=True, normalized=False)])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", tokenizer.token_to_id("[SEP]")), ("[CLS]", tokenizer.token_to_id("[CLS]")))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[SEP]", padding_side="left", truncation_side="left").save_pretrained(folder)


def fallback(name):
    """BPE over characters with byte fallback and fused unknown tokens."""
    folder = fresh(name)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True, continuing_subword_prefix="##"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(vocab_size=350, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(0, 256) if b != 0xCC],
                                                                  show_progress=False, continuing_subword_prefix="##"))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("##", ""), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A $B", special_tokens=[("<s>", 1), ("</s>", 2)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>",
                            add_bos_token=True, add_eos_token=False).save_pretrained(folder)


def clip(name, layout):
    folder = fresh(name)
    trained = train(normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
                    pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CLIP), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
                    700, [], end_of_word_suffix="</w>", continuing_subword_prefix="")
    model = json.loads(trained.to_str())["model"]
    vocab = model["vocab"]
    for b in sorted(pre_tokenizers.ByteLevel.alphabet()):  # the trainer leaves out word ends that the corpus lacks
        vocab.setdefault(b + "</w>", len(vocab))
    merges = [tuple(m) for m in model["merges"]]
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77).save_pretrained(folder)
    if layout == "old":  # vocab.json and merges.txt instead of tokenizer.json, special tokens that match normalised text
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False) + "\n")
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")
        token = lambda text: {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        named = {"bos_token": token("<|startoftext|>"), "eos_token": token("<|endoftext|>"), "unk_token": token("<|endoftext|>")}
        (folder / "special_tokens_map.json").write_text(json.dumps({**named, "pad_token": "!"}, indent=1) + "\n")
        typed = {k: {"__type": "AddedToken", **v} for k, v in named.items()}
        (folder / "tokenizer_config.json").write_text(json.dumps(
            {**typed, "add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": 77, "pad_token": "!", "tokenizer_class": "CLIPTokenizer"}, indent=1) + "\n")


def expected(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    padded = tokenizer(text, padding="max_length", truncation=True, max_length=12)
    return {"text": text, "ids": ids, "plain": tokenizer(text, add_special_tokens=False)["input_ids"], "padded": padded["input_ids"], "mask": padded["attention_mask"],
            "decoded": tokenizer.decode(ids), "decoded_without_special": tokenizer.decode(ids, skip_special_tokens=True)}


def main():
    if "--train" in sys.argv[1:]:
        llama3("llama3", ignore_merges=True, old=False)
        llama3("llama3_merges", ignore_merges=False, old=True)
        qwen2("qwen2")
        unusual("unusual")
        fallback("fallback")
        clip("clip", "new")
        clip("clip_files", "old")
    # The last two folders were written by this project itself; tests/unit/models/text/written_tokenizers_test.cpp says how to renew them.
    classes = {"llama3": PreTrainedTokenizerFast, "llama3_merges": PreTrainedTokenizerFast, "qwen2": PreTrainedTokenizerFast, "unusual": PreTrainedTokenizerFast,
               "fallback": PreTrainedTokenizerFast, "clip": CLIPTokenizer, "clip_files": CLIPTokenizer, "written_byte_level": PreTrainedTokenizerFast, "written_clip": CLIPTokenizer}
    built = {name: cls.from_pretrained(OUT / name) for name, cls in classes.items()}
    result = {"versions": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__},
              "tokenizers": {name: {"vocabulary_size": len(t), "pad_id": t.pad_token_id, "texts": [expected(t, x) for x in TEXTS], "held_back": [expected(t, x) for x in HELD_BACK]}
                             for name, t in built.items()}}
    (OUT / "expected.json").write_text(json.dumps(result, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
