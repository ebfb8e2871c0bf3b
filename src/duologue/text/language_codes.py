"""Language codes as models spell them, and as people write them.

resolve_language   `en` -> `en_XX`, `eng_Latn` or `eng`, whichever the model has
listed             names for an error, shortened

The two-letter codes are those of ISO 639-1, the three-letter ones of ISO 639-3. Of a macrolanguage
the member that its two-letter code usually stands for is given as well, such as arb for ar.
"""

from __future__ import annotations

from collections.abc import Sequence

from duologue.errors import InputError

_MOST_LISTED = 24

_TABLE = """
af=afr am=amh ar=ara/arb as=asm ay=aym/ayr az=aze/azj ba=bak be=bel bg=bul bm=bam bn=ben
bo=bod br=bre bs=bos ca=cat cs=ces cy=cym da=dan de=deu dz=dzo ee=ewe el=ell en=eng eo=epo
es=spa et=est/ekk eu=eus fa=fas/pes ff=ful/fuv fi=fin fj=fij fo=fao fr=fra fy=fry ga=gle
gd=gla gl=glg gn=grn/gug gu=guj ha=hau he=heb hi=hin hr=hrv ht=hat hu=hun hy=hye id=ind
ig=ibo is=isl it=ita ja=jpn jv=jav ka=kat kg=kon ki=kik kk=kaz km=khm kn=kan ko=kor ks=kas
ky=kir la=lat lb=ltz lg=lug li=lim ln=lin lo=lao lt=lit lv=lav/lvs mg=mlg/plt mi=mri mk=mkd
ml=mal mn=mon/khk mr=mar ms=msa/zsm mt=mlt my=mya nb=nob ne=nep/npi nl=nld nn=nno no=nor/nob
ny=nya oc=oci om=orm/gaz or=ori/ory pa=pan pl=pol ps=pus/pbt pt=por qu=que/quy rn=run ro=ron
ru=rus rw=kin sa=san sc=srd sd=snd sg=sag si=sin sk=slk sl=slv sm=smo sn=sna so=som
sq=sqi/als sr=srp ss=ssw st=sot su=sun sv=swe sw=swa/swh ta=tam te=tel tg=tgk th=tha ti=tir
tk=tuk tl=tgl tn=tsn tr=tur ts=tso tt=tat ug=uig uk=ukr ur=urd uz=uzb/uzn vi=vie wo=wol
xh=xho yi=yid/ydd yo=yor zh=zho/cmn zu=zul
"""
_SHORT_CODE = {
    long: short
    for short, _, group in (entry.partition("=") for entry in _TABLE.split())
    for long in group.split("/")
}


def resolve_language(code: str, known: Sequence[str]) -> str:
    """The code of the model that a given code means.

    A code without script or region stands for the model's code of that language if it has exactly
    one. Raises InputError for all others; it lists the model's codes, the likely ones first.
    """
    if code in known:
        return code
    folded = code.lower().replace("-", "_")
    meant = [name for name in known if name.lower() == folded]
    if not meant and "_" not in folded:
        meant = [name for name in known if _language(name) == _language(folded)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise InputError(f"language {code!r} could be each of {listed(meant)}; name one of them")
    names = listed(sorted(known, key=lambda name: -_likeness(folded, name.lower())))
    raise InputError(f"unknown language {code!r}; this model knows {names}")


def _likeness(code: str, other: str) -> float:
    import difflib  # here, because only a wrong code needs it

    return difflib.SequenceMatcher(None, code, other).ratio()


def _language(code: str) -> str:
    """The language alone, in its shorter code if it has one."""
    language = code.lower().partition("_")[0]
    return _SHORT_CODE.get(language, language)


def listed(names: Sequence[str]) -> str:
    """Names for an error; of very many only the first."""
    more = len(names) - _MOST_LISTED
    shown = ", ".join(names[:_MOST_LISTED]) or "none"
    return f"{shown} and {more} more" if more > 0 else shown
