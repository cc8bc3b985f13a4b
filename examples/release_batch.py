"""Retries with a dead letter, and a question to a person that expires and goes to somebody else: release a batch.

The instrument is often busy, so its reading is retried, with longer and longer pauses. If it never answers, the run is
parked as a dead letter and loses nothing: somebody sees to the instrument and has it retried. The question is for
whoever has the role, and a batch that nobody decides on is kept. The task is the batch's number. What a busy instrument
says is not trusted, so the policy set `strict` has a person approve what is done after it.

    bailiwick run batch-12 --workflow release-batch \
        --workflows examples/release_batch.py --tools examples/tools.toml
    bailiwick runs answer RUN '{"release": true, "reason": "pure"}'    # of a dead letter: runs retry RUN
"""

from pydantic import BaseModel

from bailiwick import Backoff, Run, Timeout, workflow

BUSY = Backoff(attempts=5, first_s=10.0, most_s=120.0)
ASKED = (("approver", 1800.0), ("admin", 14_400.0))
"""Whom to ask in turn, each a role, and for how many seconds."""


class Decision(BaseModel):
    """What a person answers."""

    release: bool
    reason: str


@workflow("release-batch", tools=("site.read_assay", "site.release_batch", "site.quarantine_batch"), by_model=())
async def release_batch(run: Run) -> str:
    """Have a person decide whether a batch is released, by its assay."""
    batch = run.task
    assay = await run.retry(lambda: run.call("site.read_assay", batch=batch), BUSY)
    decision = await decided(run, f"Is {batch} released? Its purity is {assay.percent} %.")
    run.stage("site.release_batch" if decision.release else "site.quarantine_batch", batch=batch)
    await run.review()
    await run.commit()
    return f"{batch} is {'released' if decision.release else 'kept'}: {decision.reason}"


async def decided(run: Run, question: str) -> Decision:
    """The first answer of those who are asked one after another; a no if there is none."""
    for role, seconds in ASKED:
        try:
            return await run.input(Decision, question, to=role, expires_s=seconds)
        except Timeout:
            run.emit(f"nobody with the role {role} has answered")
    return Decision(release=False, reason="nobody has decided")
