"""Reads at once, then the first of a signal and a timer: a critical laboratory value that somebody must have seen.

Whoever has seen it sends the run the signal `seen`. It may come before the run waits for it, and while the runtime is
down; if none comes in a quarter of an hour, the physician is paged. The task is the patient's number.

    bailiwick run patient-7 --workflow critical-result \
        --workflows examples/critical_result.py --tools examples/tools.toml
    bailiwick runs signal RUN seen '{"by": "ward 3"}'
"""

from pydantic import BaseModel

from bailiwick import Run, workflow

PATIENCE_S = 900.0
CRITICAL_MMOL = 6.0


class Seen(BaseModel):
    """The signal."""

    by: str


@workflow(
    "critical-result",
    tools=(
        "site.read_potassium",
        "site.read_pulse",
        "site.read_medication",
        "site.tell_ward",
        "site.page_physician",
    ),
    by_model=(),
)
async def critical_result(run: Run) -> str:
    """See to it that a critical potassium is seen by the ward, or else by the physician."""
    patient = run.task
    potassium, pulse, medication = await run.gather(
        lambda: run.call("site.read_potassium", patient=patient),
        lambda: run.call("site.read_pulse", patient=patient),
        lambda: run.call("site.read_medication", patient=patient),
    )
    if potassium.mmol < CRITICAL_MMOL:
        return f"{patient}: {potassium.mmol} mmol/l is not critical"
    report = f"{patient}: potassium {potassium.mmol}, pulse {pulse.bpm}, takes {', '.join(medication.drugs)}"
    run.stage("site.tell_ward", message=report)
    await run.review()
    await run.commit()

    async def late() -> None:
        await run.sleep(PATIENCE_S)

    _, seen = await run.first(lambda: run.wait("seen", Seen), late)
    if seen is not None:
        return f"{patient}: seen by {seen.by}"
    run.stage("site.page_physician", message=report)
    await run.review()
    await run.commit()
    return f"{patient}: the physician was paged"
