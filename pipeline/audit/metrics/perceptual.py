"""PESQ of a pair, narrow and wide band, by the ITU reference code in the package `pesq`.

The reference code writes past its tables on more than 50 utterances and ends the process; long
recordings therefore belong into `score_pool.py`, which survives that.
"""

from typing import Literal

import numpy as np

from pipeline.audit.metrics.reasons import NotMeasurable, Reason
from xy_codec.contract import Waveform

RATE_HZ = 16000


def pesq(original: Waveform, reconstruction: Waveform, band: Literal["nb", "wb"]) -> float:
    """MOS-LQO of two 16 kHz waveforms of equal length; `nb` also runs at 16 kHz, as the field does.

    Raises:
        NotMeasurable: less than a quarter second, silence, no utterance, or NaN.
    """
    try:
        import pesq as package
    except ImportError as error:
        raise NotMeasurable(Reason.NOT_INSTALLED) from error
    if len(original) < RATE_HZ // 4:
        raise NotMeasurable(Reason.TOO_SHORT)
    if not (np.any(original) and np.any(reconstruction)):
        raise NotMeasurable(Reason.SILENT)
    try:
        return float(package.pesq(RATE_HZ, original, reconstruction, band))
    except package.NoUtterancesError as error:
        raise NotMeasurable(Reason.NO_UTTERANCE) from error
    except package.BufferTooShortError as error:
        raise NotMeasurable(Reason.TOO_SHORT) from error
    except ValueError as error:
        # Sound so faint that its power rounds to nothing becomes NaN inside the reference code.
        if "NaN" not in str(error):
            raise
        raise NotMeasurable(Reason.NON_FINITE) from error
