"""How many words were heard wrong, and what is read aloud to find out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jiwer


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Word error rate over all pairs, 0..1 (more when much was invented); case and punctuation do not count."""
    return float(jiwer.wer([plain(text) for text in said], [plain(text) for text in heard]))


# What is read aloud to count the words that are heard wrong: some 700, in the styles that people have read to them.
#
# No digits, names or words that are spelled in two ways: a listener's spelling is not what is counted.
PASSAGES = (
    # a story
    "Nobody in the village could say when the old woman had come to live in the mill. She kept two goats and a blind "
    "dog, and on market days she walked down to the square with a basket of eggs on her arm. The children were afraid "
    "of her, though she had never raised her voice to any of them. One evening in late autumn, while the wind was "
    "shaking the shutters, somebody knocked three times on her door and then ran away into the dark.",
    # people talking
    "Are you sure this is the right platform? I think so. The man at the desk told me to follow the yellow line, and "
    "that is what we did. Well, he was wrong. Look at the board! Our train left five minutes ago from the other side. "
    "Do not worry, there is another one in half an hour. Let us get a cup of coffee first. You always say that. And I "
    "am always right, am I not?",
    # news
    "The city council voted on Tuesday to close the northern bridge for repairs, after engineers found deep cracks in "
    "two of its main supports. Traffic will be sent through the tunnel until the end of the summer. Shop owners along "
    "the river said they had not been asked, and that most of their customers come by car. A spokeswoman for the mayor "
    "answered that safety had to come first; the work, she added, would begin within a week.",
    # how something is done
    "Before you open the case, switch the machine off and pull the plug. Remove the four screws at the back, then lift "
    "the cover straight up. You will see a small green board on the left. Do not touch it with your bare hands. Push "
    "the new card gently into the empty slot until you hear a click. Put the cover back, tighten the screws, and wait "
    "a minute before you turn the power on again. If the light stays red, start over from the first step.",
    # a lecture
    "What we call memory is not one thing but several. There is the kind that lets you ride a bicycle, the kind that "
    "holds a phone number just long enough to dial it, and the kind that brings back, without any warning, the smell "
    "of a kitchen you have not stood in for thirty years. Each of them depends on different parts of the brain, and "
    "each can be lost while the others stay. That is how we know they are different: patients showed us, long before "
    "any machine could.",
    # a letter
    "Dear Martin, thank you for your kind letter and for the photographs of the garden. We were so sorry to hear about "
    "your knee. Please rest it, however much you would rather be outside. Everything here is as it was when you left. "
    "The boys are back at school, Anna has found a new job that she likes, and the roof still leaks whenever it rains "
    "from the west. Come and stay with us in the spring if the doctors let you. With love from all of us.",
    # an assistant's answer
    "Yes, that should work. The easiest way is to save the file first, close every other window, and then try again. "
    "If it still does not open, the problem is most likely the connection and not your computer. In that case there "
    "are two things you can do. You can wait until tomorrow morning, when fewer people are online, or you can ask "
    "your provider to check the line. Either way, nothing you have written is lost.",
    # weather, sport, short sentences
    "Rain will spread slowly from the south. By noon it should reach the hills. The east stays dry. Winds will be "
    "light, and temperatures a little lower than yesterday. In tonight's game the home team took an early lead. They "
    "lost it again just before the break. Nobody expected what came next. With seconds to go, the youngest player on "
    "the field stole the ball, ran the whole length of the pitch, and scored.",
    # one long sentence
    "When the last of the guests had gone, and the candles on the long table had burned down to almost nothing, and "
    "the musicians, who had played since the afternoon without a single pause, were packing their instruments into "
    "black boxes lined with velvet, the bride took off her shoes, sat down on the lowest step of the stairs, and began "
    "to laugh, quietly at first, then so hard that her brother came running from the kitchen to see what was wrong.",
)
