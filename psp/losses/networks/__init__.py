"""The networks that measure: each reads its weights from a file of the table in stylegan2.runtime.weights."""
