"""The VQA probe (Table 2 of arXiv 2504.13617): does a model choose the right predicate for two objects?"""
