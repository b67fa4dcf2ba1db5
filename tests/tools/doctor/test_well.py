"""Where everything is as it should be, doctor says so, and how far it could see."""

from __future__ import annotations

from tests.tools.doctor.stage import Doctor, Stage, whole


def test_all_that_can_be_told_without_a_person_is_well(stage: Stage, doctor: Doctor) -> None:
    with whole(stage):
        doctor.run()
    assert doctor.trusts[1]["status"] == doctor.trusts[2]["status"] == "ok", doctor.trusts
    assert (doctor.trusts[3]["status"], doctor.trusts[3]["cause"]) == (
        "unknown",
        "secret_not_checked",
    )
    assert (doctor.ok, doctor.status) == (True, 0)
    assert doctor.err == ""
