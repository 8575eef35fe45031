"""Text as LaTeX prints it literally."""

import unicodedata

from medrobust.report.render.plain import one_line

_ESCAPE = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_"},
        **{sign: f"{{{sign}}}" for sign in "[]*"},  # after the end of a line they mean its options
        "`": r"\textasciigrave{}",
        "<": "$<$",
        ">": "$>$",
        "|": r"\textbar{}",
        "−": "$-$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "✗": r"$\times$",
        "·": r"$\cdot$",
        "–": r"\textendash{}",
        "—": r"\textemdash{}",
        "≤": r"$\le$",
        "≥": r"$\ge$",
        "∞": r"$\infty$",
        "Δ": r"$\Delta$",
        "α": r"$\alpha$",
        "β": r"$\beta$",
        "ε": r"$\varepsilon$",
        "σ": r"$\sigma$",
        "λ": r"$\lambda$",
        "²": "$^2$",
        "ß": r"\ss{}",
        **{sign: f"\\{name}{{}}" for sign, name in zip("łŁøØ", "lLoO", strict=True)},
        **{sign: f"\\{name}{{}}" for sign, name in (("æ", "ae"), ("Æ", "AE"), ("œ", "oe"))},
        "…": r"\dots{}",
        "’": "'",
        "→": r"$\to$",
        "°": r"$^\circ$",
        "µ": r"$\mu$",
        "μ": r"$\mu$",
        "γ": r"$\gamma$",
        "κ": r"$\kappa$",
        "τ": r"$\tau$",
        "∥": r"$\Vert$",
        "‖": r"$\Vert$",
        "≈": r"$\approx$",
        "√": r"$\surd$",
        "₂": "$_2$",
    }
)

_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
"""Combining accent -> the command of LaTeX for it."""


def escape(text: str) -> str:
    """Escape text so that LaTeX prints it literally, with the fonts that every pdflatex has.

    A sign that they lack is printed as its code point, such as `U+4E2D`.
    """
    plain = unicodedata.normalize("NFC", one_line(text)).translate(_ESCAPE)
    return "".join(map(_sign, plain)).replace("--", "-{}-")


def _sign(sign: str) -> str:
    if sign.isascii():
        return sign
    letter, *accents = list(unicodedata.normalize("NFD", sign))
    if len(accents) == 1 and accents[0] in _ACCENTS and letter.isascii():
        base = {"i": "\\i", "j": "\\j"}.get(letter, letter)
        return f"\\{_ACCENTS[accents[0]]}{{{base}}}"
    return f"U+{ord(sign):04X}"
