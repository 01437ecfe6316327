"""The rules: one file a claim or a family, each rule a small pure function over a tree."""
