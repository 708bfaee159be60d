"""Plans that broke something once, each shrunk to its story. They must stay sound, whatever the tables of steps become."""

from __future__ import annotations

from collections.abc import Mapping

FOUND: Mapping[str, str] = {
    # A device list that an answer left out was taken for an empty one, and a disk in use for a free one.
    "a-list-that-an-answer-leaves-out": (
        "eNplzk0OwiAQBeCrmFlPDD_a4lkIMZSODaaCAbTx9tLWRRsXZBbfe3loLfBmx0zIkB3XJ5tWqpYr0RjUGlwiWwhQV0UIcQIEztijqxfWslm7NQ652FR24Uobd_H5"
        "WXjBLYwxzCscOUJH2fd0sIP1AVD8rUwphuEauzu5eQx6entHGZDvQv7375Jetc1FFa6UPJ_aizHmC9D_Rj0="
    ),
    # A second copy of a refused Remove came 57 s later, when the container had ended, and deleted the disk.
    "a-late-copy-of-a-refused-removal": (
        "eNrdjEEKAjEQBP_S50ZmPfiZIYesO4qQbCCT1e8bXRHzBQ9DQ1f1qB55icmNQjl8LlAV52qxGai9INbyADGJ5Lkn9k346vAWaxvkjn54Nvd4Ne"
        "_KRCxlm5Mt4Gm00s3bbrxe_CGolsvd3khGGMITOzNryw=="
    ),
    # Written by a clock that was a day ahead: the next process kept it in the trash for that day.
    "a-trash-that-believes-a-clock-that-was-ahead": (
        "eNpVjFsKhDAMRfeS7yDxgcxeQhEtGai2U2l9bN9QQZyPcOHec8Lc4Hf0WZCwpYqwnEFmsEnGTQBZC4RfPAGhJgqTJtySeXCwPtplmPewZlUgSzqcVfvTd6TQi0wS"
        "4vH39zUuzvvhkbmYdRmNuQAyOTB4"
    ),
    # A host that is switched off kept its volumes for as long as it was off.
    "a-host-that-is-off": (
        "eNqLjjbSSUvMKU7VMdAx0IPiWJ3oaKXkotTEklQlnWiggI5SXn65ko6SoYFBbhKQVoLoiYUrVyouSSwqQVEMlEKSL8gvTy2Kz09LA6sxNIXaBVMRGwsA8XUkaA=="
    ),
    # Somebody made a file system on the source; the first mount of its clone gave it a new UUID.
    "somebody-elses-file-system-on-a-clone": (
        "eNpdj9EKwjAMRf8lz0GaKJv7llKkm3EUaytd537fuDFQH0II59yEWMt483ESNGgOWxG3TE3TEju0FoYivgqgmozgRx8SIJAxj147YC2zuC2sPkzVl6o26UZI"
        "eQE8KvsR8lP5Tv_i9xDjxY-S6urwmiVWzG3XnejMq5ZfUpYSapX08b4WDDEn2e_3MoWrTrQ9uWvOvQF1LEQp"
    ),
    # A disk attached by hand to a machine whose list nobody could read, and its volume removed: the oracle's own mistake, which
    # did not know that the record may go into the trash then, and that the file stays (corrections 38).
    "a-disk-by-hand-where-nobody-can-look": (
        "eNp9kF0OgyAQhO_C86aBRUXPQoxBpa2pPw1imt6-K9SqLw0hJMs3zAxaS7iafraAwC887CLnigvMihK0Zo2zxlsGGglh5ma6kQETnA81nSyqyygmAZu9cZ"
        "5wDjmw2s5dS2JJ1ydmehIidsC7hR4RSESaCKlQKrWSL9cFc7X5pEQklA3TrMhWoumn0VZmbKvdOayD36HDwfNPiWbxIZ-kAX5zCaRgSZ6LFajf1Z08o9tB"
        "uIxkFcd4quzsYB4xAhWA7Zt-SFl-ANuians="
    ),
}
