"""What users say in the benchmarks of the service: texts to which the default model says much."""

from __future__ import annotations

SAID = (
    "I need a train from London to Cambridge on Friday evening, and a cheap hotel near the "
    "station with free parking for three nights. What can you recommend?",
    "I am looking for a restaurant that serves Chinese food in the centre, and tell me the "
    "address, the postcode, the phone number and the price range of all of them, please.",
    "你好，我想找一家人均消费100元以下，评分4.5分以上的餐馆，请问有什么推荐吗？"
    "请把地址、电话、营业时间、推荐菜都告诉我。",
    "What should I see in Berlin, and how do I get there from the airport?",
    "帮我找一个门票免费的景点，并告诉我地址、电话、游玩时间和周边的酒店、餐馆、地铁站。",
    "Please give me the name, the address, the phone number, the postcode, the star rating, the "
    "price range and the type of a hotel in the north with free parking and wifi, and book it for "
    "3 nights for 2 people from Monday.",
    "What do you think about music and films? Which ones do you like best and why?",
    "I need a train from Cambridge to London Kings Cross leaving on Monday after 09:15, and I want "
    "the train ID, the duration, the price, the departure time and the arrival time.",
)
