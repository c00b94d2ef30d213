"""Formulas as MathML, by the converter of docutils: browsers show it without scripts."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

APPLIED = re.compile(r"<mo>&ApplyFunction;</mo>(?!\s*<mo[^>]*>\()")
THIN_SPACE = '<mspace width="0.1667em"></mspace>'


def mathml(tex: str, *, as_block: bool) -> str:
    """Return the markup of a formula as TeX would set it.

    A prime is written as an apostrophe, but is not one; a logarithm has a space on both sides, unless
    a parenthesis follows; and the two bars of a divergence do not grow with the line.
    """
    tex = re.sub(r"([)\w])\s*\\log", r"\1\\,\\log", tex.replace("'", r"^{\prime}"))
    markup = APPLIED.sub(THIN_SPACE, tex2mathml(tex, as_block=as_block))
    return markup.replace("<mo>‖</mo>", '<mo stretchy="false">‖</mo>')


def inline(writer, node) -> None:
    """Write a formula in a line of text."""
    writer.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block(writer, node) -> None:
    """Write a formula on lines of its own, or several that have an empty line between them."""
    for formula in re.split(r"\n\s*\n", node.astext()):
        writer.body.append(writer.starttag(node, "div", CLASS="math"))
        writer.body.append(mathml(formula, as_block=True))
        writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app) -> dict[str, bool]:
    """Make this the way in which HTML pages show formulas."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
