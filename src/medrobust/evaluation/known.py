"""Finished rows: found, or computed again."""

import logging
from collections.abc import Sequence

from medrobust.code.package import package_digest
from medrobust.evaluation.record.requests import Requests
from medrobust.result.row import Row, RowError
from medrobust.result.sidecar import ALWAYS, gone, paths, state
from medrobust.result.stale import stale
from medrobust.result.store import RowStore

_log = logging.getLogger(__name__)


def known_row(
    store: RowStore, row_id: str, *, rerun: bool | str, unsourced: Sequence[str]
) -> Row | None:
    """Return a cell's finished row, None when it is to be computed.

    Args:
        store: of rows.
        row_id: of the cell.
        rerun: false, true (compute all again) or `stale` (those that other code made).
        unsourced: what of its code has no source, and so cannot be known to be the same.

    A damaged row is logged, and is to be computed.
    """
    try:
        row = None if rerun is True or unsourced else store.get(row_id)
    except RowError as error:
        _log.warning("computing again: %s", error)
        row = None
    if row is None or row.status != "done" or (rerun == "stale" and stale(row, package_digest())):
        return None
    return row


def is_complete(store: RowStore, row: Row, requests: Requests) -> bool:
    """Return whether a finished row has what is requested next to it, and no file damaged or gone.

    Damage is logged; what is damaged or gone is made again.
    """
    damage = [*state(paths(store, row.id, ALWAYS)).damage, *gone(store, row, ALWAYS)]
    for message in damage:
        _log.warning("making again: %s", message)
    return not damage and requests.met_by(store, row.id)
