"""The anatomy page: a self-contained HTML page that shows one forward pass step by step.

Not `explain/anatomy/`, because a folder of that name would hide the function `explain.anatomy`.
"""
