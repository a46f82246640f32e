"""Reads C++ files as far as the conventions need it: tokens without comments, which scopes are open, which parameters a function takes,
what a class holds. No compiler: templates, macros and preprocessor branches are taken as they stand in the text.
"""
import re
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/|(?<![^\n])[ \t]*\#(?:\\\n|[^\n])*)
      |(?P<text>(?:u8|[uUL])?R"(?P<raw>[^()\s\\]*)\(.*?\)(?P=raw)"|(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"|(?:u8|[uUL])?'(?:\\.|[^'\\\n])+')
      |(?P<number>\.?\d(?:[eEpP][+-]|'(?=\w)|[\w.])*)
      |(?P<word>[A-Za-z_]\w*)
      |(?P<sign>::|->|&&|\|\||<<=|<=>|==|!=|<=|>=|\+=|-=|\*=|/=|\+\+|--|\.\.\.|.)""",
    re.VERBOSE | re.DOTALL)
CLOSING = {"(": ")", "[": "]", "{": "}"}
# Words with parentheses behind them that open no parameter list.
NO_FUNCTION = {"alignas", "decltype", "noexcept", "requires", "explicit", "static_assert", "sizeof", "__attribute__", "__launch_bounds__", "if", "for", "while",
               "switch", "catch", "return", "asm"}
MACRO = re.compile(r"[A-Z][A-Z0-9_]+")
NO_MEMBER = {"using", "friend", "typedef", "static_assert", "enum", "template"}
CLASS_WORDS = {"class", "struct", "union"}


@dataclass
class Token:
    kind: str   # "word", "number", "text" (a literal) or "sign"
    text: str
    line: int


@dataclass
class Function:
    name: str
    line: int
    parameters: int
    defined: bool  # with a body, not only declared


@dataclass
class Class:
    name: str
    line: int
    members: list = field(default_factory=list)  # one list of tokens for each data member


def tokens(text):
    found, at, line = [], 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        if match.lastgroup != "skip":
            kind = "text" if match.group("text") is not None else next(k for k in ("number", "word", "sign") if match.group(k) is not None)
            found.append(Token(kind, match.group(), line))
        line += match.group().count("\n")
        at = match.end()
    return found


def closing(found, at):
    """The index of the bracket that closes the one at `at`; the list's end where none does."""
    depth = 0
    for i in range(at, len(found)):
        if found[i].kind == "sign":
            if found[i].text in CLOSING:
                depth += 1
            elif found[i].text in CLOSING.values():
                depth -= 1
                if depth == 0:
                    return i
    return len(found)


def closing_angle(found, at):
    """The index of the > that closes the < at `at`, or None: it is "less than"."""
    depth, i = 0, at
    while i < len(found):
        text = found[i].text if found[i].kind == "sign" else ""
        if text in CLOSING:
            i = closing(found, i)
        elif text == "<":
            depth += 1
        elif text == ">":
            depth -= 1
            if depth == 0:
                return i
        elif text in (";", "}", ")", "]", "||"):
            return None
        i += 1
    return None


def count_parameters(inside):
    """Of a parameter list's tokens, without its parentheses."""
    if not inside or [token.text for token in inside] == ["void"]:
        return 0
    commas, i = 0, 0
    while i < len(inside):
        text = inside[i].text if inside[i].kind == "sign" else ""
        if text in CLOSING:
            i = closing(inside, i)
        elif text == "<":
            i = closing_angle(inside, i) or i
        elif text == ",":
            commas += 1
        i += 1
    return commas + 1


def function_of(declaration, defined):
    """The function that the declaration at namespace or class scope declares, or None. Its tokens end before the body or the semicolon."""
    i, operator = 0, False
    while i < len(declaration):
        token = declaration[i]
        if token.kind == "word" and token.text in ("using", "typedef", "friend", "static_assert"):
            return None
        if token.text == "operator" and token.kind == "word":
            operator, end = True, i + 1
            while end < len(declaration) and declaration[end].text != "(" or end == i + 1:  # operator() has parentheses of its own
                end += 1
            if declaration[i + 1].text == "(" and end < len(declaration) and declaration[i + 2].text == ")":
                end = i + 3
            i = end
            continue
        if token.kind == "sign" and token.text == "=":
            return None  # a variable with its value
        if token.kind == "sign" and token.text == "<":
            end = closing_angle(declaration, i)
            i = (end if end is not None else i) + 1
            continue
        if token.kind == "sign" and token.text == "(":
            end = closing(declaration, i)
            before = declaration[i - 1] if i > 0 else None
            named = before is not None and before.kind == "word" and before.text not in NO_FUNCTION and not MACRO.fullmatch(before.text)
            if operator or named:
                name = "operator" if operator else before.text
                return Function(name, declaration[0].line if operator else before.line, count_parameters(declaration[i + 1:end]), defined)
            i = end + 1
            continue
        if token.kind == "sign" and token.text in ("[", "{"):
            i = closing(declaration, i) + 1
            continue
        i += 1
    return None


def class_of(declaration):
    """The class whose body follows the declaration's tokens, or None."""
    i = 0
    while i < len(declaration):
        text = declaration[i].text
        if text == "template" and i + 1 < len(declaration) and declaration[i + 1].text == "<":
            i = (closing_angle(declaration, i + 1) or i + 1) + 1
            continue
        if text == "enum":
            return None
        if text in CLASS_WORDS:
            name = next((token for token in declaration[i + 1:] if token.kind == "word" and token.text not in ("alignas", "final")), declaration[i])
            return Class(name.text, name.line)
        if text in ("(", "="):
            return None
        i += 1
    return None


def declarations(found):
    """The functions and the classes that a file's tokens declare, those inside functions' bodies left out: (functions, classes)."""
    functions, classes = [], []
    scopes = []       # what each open brace belongs to: a Class, or None for a namespace
    declaration = []  # the tokens since the last one ended
    initialisers = False  # behind "Constructor(...) :"
    i = 0

    def finish(defined):
        nonlocal declaration, initialisers
        function = function_of(declaration, defined) if declaration else None
        if function is not None:
            functions.append(function)
        elif declaration and scopes and scopes[-1] is not None and declaration[0].text not in NO_MEMBER:
            scopes[-1].members.append(declaration)
        declaration, initialisers = [], False

    while i < len(found):
        token = found[i]
        text = token.text if token.kind == "sign" else ""  # no bracket of a literal's
        if text == ";":
            finish(False)
        elif text == "}":
            if scopes:
                scopes.pop()
            declaration = []
        elif text in ("(", "["):
            end = closing(found, i)
            declaration += found[i:end + 1]
            i = end
        elif text == "{":
            words = [t.text for t in declaration if t.kind == "word"]
            kind = class_of(declaration)
            if words[:1] == ["namespace"] or words[:2] == ["inline", "namespace"] or (words == ["extern"] and len(declaration) == 2):
                scopes.append(None)
                declaration = []
            elif kind is not None:
                classes.append(kind)
                scopes.append(kind)
                declaration = []
            else:
                end = closing(found, i)
                last = declaration[-1] if declaration else None
                value = last is not None and (last.text in ("=", ",") or (last.kind == "word" or last.text in (">", "]")) and
                                              (initialisers or function_of(declaration, True) is None)) and "enum" not in words
                if value:  # a value in braces: part of the declaration
                    declaration += found[i:end + 1]
                else:
                    finish(True) if "enum" not in words else declaration.clear()
                i = end
        elif text == ":" and declaration and [t.text for t in declaration] in (["public"], ["private"], ["protected"]):
            declaration = []
        else:
            if text == ":" and function_of(declaration, True) is not None:
                initialisers = True
            declaration.append(token)
        i += 1
    return functions, classes
