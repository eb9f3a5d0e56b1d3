"""`xytok tokenize`: shards of speech in, parts of codes out."""

import json as json_text

from jobs.interrupts import WORKERS, waiting_for
from jobs.logs import RESULT, Log, LogOptions
from jobs.options import Json, open_storage
from jobs.run_options import Options, check_engine


def tokenize(options: Options, *, json: Json = False, log: Log = LogOptions()) -> int:
    """Tokenize what is left and say what was done."""
    from pipeline.fleet.ray.engine import open_engine
    from pipeline.fleet.run import RunRequest, check_finished, run_tokenize
    from pipeline.fleet.webhook import Webhook, read_webhook

    check_engine(options.engine, options.ray)
    inputs, output = options.paths()
    request = RunRequest(
        inputs=inputs,
        output=output,
        rules=options.rules,
        storage=open_storage(options.storage_options),
        tuning=options.find_tuning(),
        max_shards=options.max_shards,
        max_reject_rate=options.max_reject_rate,
        redo_changed=options.redo_changed,
        allow_damaged=options.allow_damaged,
        wait_for_output=options.wait_for_output,
        quiet=log.quiet,
        codec=options.codec,
    )
    stall_seconds = options.ray.hang_minutes * 60
    webhook = Webhook(read_webhook(options.webhook), output, stall_seconds)
    engine = open_engine(options.engine, options.codec, options.ray)
    with webhook:
        try:
            with waiting_for(WORKERS):
                summary = run_tokenize(request, engine, webhook.show)
        finally:
            engine.close()
        webhook.take(summary)
        lines = summary.lines()
        for line in lines:
            RESULT.debug(line)
        if json:
            print(json_text.dumps(summary.to_dict(), indent=1))
        elif not log.quiet:
            print("\n".join(lines))
        check_finished(summary, allow_damaged=options.allow_damaged)
    return 0
