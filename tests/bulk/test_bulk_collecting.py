"""A run lets the collector of cycles work less, and leaves it as it was."""

import gc

from callsheet.bulk import rare_collections


def test_the_collector_is_as_before_after_a_run_whatever_its_end():
    before = gc.get_threshold(), gc.get_freeze_count()
    for error in (None, KeyboardInterrupt()):
        try:
            with rare_collections():
                assert gc.get_threshold()[0] > before[0][0]
                assert gc.get_freeze_count() > before[1]
                assert gc.isenabled()
                if error is not None:
                    raise error
        except KeyboardInterrupt:
            pass
        assert gc.get_threshold() == before[0]
        assert gc.get_freeze_count() <= before[1], "3.12 starts with some"
