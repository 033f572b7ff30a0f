"""Signs of malice that prove nothing: names, install scripts, and rules over the code.

They are findings of kind ``heuristic``. A person sees them and decides: no rule refuses a package
for one, and neither the scan's result nor the security score counts any.
"""
