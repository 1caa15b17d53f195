"""What files of strangers may say."""

NAMES = [
    *("/etc/passwd", "../../x", "..", ".", "", "/", "//", "a/../../../b", "..\\..\\x", "C:\\x", "C:x", "\\\\host\\share"),
    *("a\0b", "a\nb", "\x1b[2J", "\u202egnp.exe", "caf\udce9", "~", "~/x", "-rf", ".hidden", ".partial-1", " ", " a ", "a."),
    *("con", "NUL.txt", "com1", "lpt¹", "aux .x", "a" * 5000, "é" * 300, "/".join("abc" * 99), "x/" * 3000 + "y"),
    *("a:b", 'q"?*<>|', "$(id)", "`id`", "%2e%2e/x", "\ufeffx", "x\u00a0y", "\u2028", "👩‍👩‍👧", "日本語", "e\u0301", "é", "ﬁ", "fi", "A", "a"),
]
