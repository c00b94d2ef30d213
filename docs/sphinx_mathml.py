"""Formulas as MathML, by the converter of docutils: browsers show it without scripts and fonts from
elsewhere."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def mathml(tex: str, *, as_block: bool) -> str:
    """Return the markup of a formula; a prime is not an apostrophe."""
    return tex2mathml(tex.replace("'", r"^{\prime}"), as_block=as_block)


def inline(writer, node) -> None:
    """Write a formula in a line of text."""
    writer.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block(writer, node) -> None:
    """Write a formula on lines of its own."""
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    writer.body.append(mathml(node.astext(), as_block=True))
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app) -> dict[str, bool]:
    """Make this the way in which HTML pages show formulas."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
