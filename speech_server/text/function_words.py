"""Words no spoken piece may end on, by language: articles, prepositions, conjunctions, pronouns, auxiliaries."""

from __future__ import annotations

_WORDS = {
    "en": (
        "a an the this that these those my your his her its our their some any no every each which what whose "
        "of in on at by for from with without to into onto over under about as between through during before after "
        "and or but nor so yet if when while because although though since unless until than whether where who whom "
        "i you he she it we they me him us them is are was were be been being am do does did have has had will would "
        "shall should can could may might must not very too more most such both either neither only just there here "
        "i'm you're he's she's it's we're they're i've you've we've they've i'll you'll don't doesn't didn't "
        "mr mister mrs ms dr doctor prof professor saint"
    ),
    "es": (
        "el la los las un una unos unas lo al del de a en por para con sin sobre entre desde hasta hacia según tras "
        "y e o u ni que pero sino si cuando mientras porque aunque como donde quien cuyo mi tu su mis tus sus nuestro "
        "nuestra este esta estos estas ese esa aquel aquella yo tú él ella usted nosotros ellos ellas me te se nos le "
        "les es son era fue ser está están ha han había muy más menos tan no ya también cada todo toda señor "
        "señora doctor doctora"
    ),
    "fr": (
        "le la les l un une des du de d à au aux en dans sur sous par pour avec sans entre vers chez et ou mais ni car "
        "donc que qui quoi dont où si quand comme lorsque puisque mon ma mes ton ta tes son sa ses notre nos votre vos "
        "leur leurs ce cet cette ces je tu il elle on nous vous ils elles me te se lui y est sont était a ont avait "
        "être avoir ne pas plus très tout toute tous chaque monsieur madame docteur"
    ),
    "it": (
        "il lo la i gli le un uno una di a da in con su per tra fra del dello della dei degli delle al allo alla ai "
        "agli alle dal dalla nel nella nei sul sulla e ed o ma né che se quando mentre perché come dove chi cui mio "
        "mia tuo tua suo sua nostro nostra loro questo questa quel quella io tu lui lei noi voi mi ti si ci vi è sono "
        "era ha hanno aveva non più molto ogni tutto tutta signor signora dottor"
    ),
    "pt": (
        "o a os as um uma uns umas de do da dos das em no na nos nas por pelo pela para com sem sobre entre até desde "
        "e ou mas nem que se quando enquanto porque embora como onde quem cujo meu minha teu tua seu sua nosso nossa "
        "este esta esse essa aquele aquela eu tu ele ela você nós eles elas me te lhe é são era foi ser está estão "
        "tem têm não mais muito cada todo toda ao à aos às senhor senhora doutor"
    ),
    "de": (
        "der die das den dem des ein eine einen einem einer eines kein keine mein dein sein ihr unser euer dieser "
        "diese dieses jeder jede in im an am auf aus bei beim mit nach von vom zu zum zur über unter vor hinter "
        "zwischen durch für gegen ohne um und oder aber denn sondern dass ob wenn weil als wie wo wer ich du er sie "
        "es wir ihr mich dich sich uns euch ist sind war waren hat haben wird werden kann nicht sehr so auch nur "
        "herr frau doktor"
    ),
    "hi": ("का के की को से में पर ने और या लेकिन कि जो यह वह ये वे मैं तुम आप हम है हैं था थे थी हो एक इस उस भी तक लिए साथ नहीं"),
}
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
