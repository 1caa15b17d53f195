"""A web page on which visitors invert, edit and restore photographs with the models that come with the package.

`studio` processes the photographs and does not depend on the page, `page` and `tabs` lay it out with Gradio, and
`server` serves it.
"""
