"""The notes: the page, and the requests of its script."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Blueprint, abort, render_template
from flask.typing import ResponseReturnValue

from flask_authx import current_user

from .forms import sent
from .models import Note, Notice, db
from .signin import authx, notices

notes = Blueprint("notes", __name__)

LONGEST = 2000


@notes.get("/notes")
@authx.token_required
def index() -> str:
    newest_first = sa.select(Note).where(Note.user_id == current_user.id).order_by(Note.id.desc())
    found = db.session.scalars(newest_first).all()
    return render_template("notes.html", notes=found, notices=notices(), longest=LONGEST)


@notes.post("/notes")
@authx.token_required
def add() -> ResponseReturnValue:
    text = sent("text")
    if not 0 < len(text) <= LONGEST:
        abort(400)
    note = Note(user_id=current_user.id, text=text)
    db.session.add(note)
    db.session.commit()
    return {"id": note.id, "text": note.text, "created": f"{note.created:%Y-%m-%dT%H:%M:%SZ}"}, 201


@notes.delete("/notes/<int:number>")
@authx.token_required
def remove(number: int) -> ResponseReturnValue:
    return forget(Note, number)


@notes.delete("/notices/<int:number>")
@authx.token_required
def read(number: int) -> ResponseReturnValue:
    return forget(Notice, number)


def forget(what: type[Note | Notice], number: int) -> ResponseReturnValue:
    """Delete a note or a notice of the user; 404 for those of other users."""
    own = sa.select(what).where(what.id == number, what.user_id == current_user.id)
    found = db.session.scalar(own)
    if found is None:
        abort(404)
    db.session.delete(found)
    db.session.commit()
    return "", 204
