"""Reads an HDR log with HdrHistogram's own reader; says as JSON what each tag's intervals add up to."""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

totals = {}
reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3_600_000_000, 3))
while (interval := reader.get_next_interval_histogram()) is not None:
    tag = interval.get_tag() or ""
    total, intervals = totals.setdefault(tag, [HdrHistogram(1, 3_600_000_000, 3), 0])
    total.add(interval)
    totals[tag][1] += 1

print(
    json.dumps(
        {
            tag: {
                "count": total.get_total_count(),
                "intervals": intervals,
                "p50": total.get_value_at_percentile(50),
                "p99": total.get_value_at_percentile(99),
                "max": total.get_max_value(),
            }
            for tag, (total, intervals) in totals.items()
        }
    )
)
