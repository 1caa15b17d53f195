"""The tests, as a package that is found before any package called tests that a library installs."""
