"""Members of an ensemble attack, for the page."""

from collections import Counter

from medrobust.report.sweep import Sweep, records_of


def members(sweep: Sweep) -> dict[str, str]:
    """Return how many images each member of an ensemble attack decided, as text.

    Args:
        sweep: the collected sweep.

    Returns:
        Row id -> `clean image 29, exact momentum 38, not fooled 33`, in the order of the
        members. Rows of attacks without members, and without a sound record of their images, are
        left out.
    """
    read = records_of(sweep)
    found = {}
    for row in sweep.rows:
        record = read(row)
        if record is None or not record.members or "member" not in record.columns:
            continue
        counts = Counter(record.columns["member"].tolist())
        names = (*record.members, "not fooled")  # of -1, the last
        order = (*range(len(record.members)), -1)
        found[row.id] = ", ".join(f"{names[n]} {counts[n]}" for n in order if counts[n])
    return found
