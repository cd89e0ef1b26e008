"""The endpoints of ace.md, "Metadata Service": a request of a pod in, the answer out."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from appc.errors import AppcError
from appc.metadata.messages import FORM, JSON, TEXT, UNICODE_TEXT, Question, Refusal, Request, Response
from appc.metadata.pods import Pod, is_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BASE = "acMetadata/v1/"


def respond(request: Request, pod: Pod) -> Response | Question:
    """Answer `request`, which came in on the socket of `pod`. Never raises for a bad request.

    A Question is for a program of the host's; `verdict` makes the answer of the status it ends with.
    """
    try:
        return _route(request, pod)
    except Refusal as refusal:
        return refusal.response()
    except FileNotFoundError:
        return Refusal(404, "the pod is gone").response()
    except (OSError, ValueError, AppcError) as error:
        return Refusal(500, f"the pod's records cannot be read ({error})").response()


def verdict(status: int) -> Response:
    """Return the answer to who asked whether a signature is another host's pod's, by its verifier's exit status."""
    if status == 0:
        return Response(200, TEXT, b"")
    if status == 1:
        return _not_signed().response()
    return Refusal(502, "the host's verifier failed").response()


def _route(request: Request, pod: Pod) -> Response | Question:
    token, _, path = request.path.lstrip("/").partition("/")
    if not _is_token_of(pod, token):
        raise Refusal(401, "not this pod's token", (("WWW-Authenticate", 'AppContainer realm="pod"'),))
    if not path.startswith(_BASE):
        raise _not_found()
    parts = path[len(_BASE) :].split("/")
    if parts[:2] == ["pod", "hmac"]:
        return _identity(request, pod, parts[2:])
    if parts[0] == "pod":
        endpoint = _pod_endpoint(pod, parts[1:], request)
    elif parts[0] == "apps" and len(parts) > 2:
        endpoint = _app_endpoint(pod, parts[1], parts[2:], request)
    else:
        raise _not_found()
    _allow(request, "GET", "HEAD")
    return endpoint


def _pod_endpoint(pod: Pod, parts: list[str], request: Request) -> Response:
    if parts == ["uuid"]:
        return Response(200, TEXT, pod.uuid.encode())
    if parts == ["manifest"]:
        return Response(200, JSON, _reified(pod))
    if parts == ["log"]:
        from appc.metadata.logs import answer

        apps = [str(app["name"]) for app in pod.manifest().get("apps") or ()]
        return answer(pod.root, pod.uuid, apps, request.query, named=True)
    if parts[:1] == ["annotations"]:
        return _annotations(_annotation_map(pod.manifest()), parts[1:])
    raise _not_found()


def _reified(pod: Pod) -> bytes:
    """The pod manifest, with its annotations also when it has none.

    Clients compare them with the endpoint for annotations, where none are an empty list; the
    specification's validator tells that from a missing one.
    """
    from appc.schema.json import dumps

    manifest = pod.manifest()
    return pod.manifest_bytes() if "annotations" in manifest else dumps({**manifest, "annotations": []}).encode()


def _app_endpoint(pod: Pod, name: str, parts: list[str], request: Request) -> Response:
    app = _app(pod, name)
    if parts == ["image", "manifest"]:
        return Response(200, JSON, pod.image_manifest_bytes(name))
    if parts == ["image", "id"]:
        return Response(200, TEXT, str(app["image"]["id"]).encode("ascii"))
    if parts == ["log"]:
        from appc.metadata.logs import answer

        return answer(pod.root, pod.uuid, [name], request.query, named=False)
    if parts[:1] == ["annotations"]:
        from appc.schema.image import ImageManifest

        image = ImageManifest.parse(pod.image_manifest_bytes(name))
        merged = {str(annotation.name): str(annotation.value) for annotation in image.annotations}
        merged.update(_annotation_map(app))
        return _annotations(merged, parts[1:])
    raise _not_found()


def _app(pod: Pod, name: str) -> dict[str, Any]:
    apps: list[dict[str, Any]] = pod.manifest().get("apps") or []
    for app in apps:
        if app.get("name") == name:
            return app
    raise Refusal(404, "the pod has no app of this name")


def _annotation_map(holder: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in holder.get("annotations") or ()}


def _annotations(annotations: dict[str, str], parts: list[str]) -> Response:
    """All annotations as JSON, or the value of one whose name (which may contain slashes) is given."""
    if not parts:
        from appc.schema.json import dumps

        entries = [{"name": name, "value": value} for name, value in annotations.items()]
        return Response(200, JSON, dumps(entries).encode())
    name = _unquoted("/".join(parts).encode()).decode("utf-8", "replace")
    if name not in annotations:
        raise Refusal(404, "there is no annotation of this name")
    return Response(200, UNICODE_TEXT, annotations[name].encode())


def _identity(request: Request, pod: Pod, parts: list[str]) -> Response | Question:
    if parts not in (["sign"], ["verify"]):
        raise _not_found()
    _allow(request, "POST")
    form = _form(request)
    content = _field(form, "content")
    if parts == ["sign"]:
        return Response(200, TEXT, b2a_base64(_hmac(pod, content), newline=False))
    return _verified(pod, _field(form, "uuid"), content, _field(form, "signature"))


_SIGNATURE_SIZE = 64  # bytes of HMAC-SHA512


def _verified(pod: Pod, uuid: bytes, content: bytes, signature: bytes) -> Response | Question:
    signer = uuid.decode("ascii", "replace").lower()
    if not is_uuid(signer):
        raise Refusal(400, "field uuid is not a UUID")
    try:
        # Base64 has no spaces: one stands for a plus sign that the client forgot to escape.
        given = a2b_base64(signature.strip().replace(b" ", b"+"), strict_mode=True)
    except Base64Error:
        raise Refusal(400, "field signature is not base64") from None
    from hmac import compare_digest

    try:
        expected = _hmac(Pod(pod.root, signer), content)
    except FileNotFoundError:
        verifier = pod.verifier()
        if not verifier or len(given) != _SIGNATURE_SIZE:
            raise _not_signed() from None
        return Question((verifier, signer, b2a_base64(given, newline=False).decode()), content)
    if not compare_digest(given, expected):
        raise _not_signed()
    return Response(200, TEXT, b"")


def _not_signed() -> Refusal:
    return Refusal(403, "the signature is not that pod's")


def _hmac(pod: Pod, content: bytes) -> bytes:
    """Sign with the pod's key over its identity and the content, so that one speaks for one pod only."""
    from hmac import digest

    return digest(pod.hmac_key(), bytes.fromhex(pod.uuid.replace("-", "")) + content, "sha512")


def _form(request: Request) -> dict[str, bytes]:
    if request.content_type != FORM:
        raise Refusal(400, f"the body must be a form ({FORM})")
    form: dict[str, bytes] = {}
    for pair in request.body.split(b"&"):
        name, _, value = pair.partition(b"=")
        key = _unquoted(name.replace(b"+", b" ")).decode("utf-8", "replace")
        if key in form:
            raise Refusal(400, "a field of the form is there twice")
        form[key] = _unquoted(value.replace(b"+", b" "))
    return form


def _field(form: dict[str, bytes], name: str) -> bytes:
    value = form.get(name)
    if not value:
        raise Refusal(400, f"field {name} of the form is missing")
    return value


def _unquoted(text: bytes) -> bytes:
    """Resolve %XX escapes (urllib would triple the time to the first answer)."""
    first, *rest = text.split(b"%")
    pieces = [first]
    for piece in rest:
        digits = piece[:2].decode("ascii", "replace")
        if len(digits) != 2 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            raise Refusal(400, "a percent sign is not followed by two hexadecimal digits")
        pieces += (bytes.fromhex(digits), piece[2:])
    return b"".join(pieces)


def _is_token_of(pod: Pod, token: str) -> bool:
    """Compare in constant time; a pod that is gone has no token."""
    from hmac import compare_digest

    try:
        expected = pod.token()
    except FileNotFoundError:
        return False
    return bool(expected) and compare_digest(token.encode("utf-8", "surrogateescape"), expected.encode("ascii"))


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(405, f"only {' and '.join(methods)}", (("Allow", ", ".join(methods)),))


def _not_found() -> Refusal:
    return Refusal(404, "there is no such endpoint")
