"""Judgements of answers: by a model, in both orders, and by people, and whether the two agree."""
