//! When advertising may be sent, country by country: the hours of laws and carriers, as far as sources name them; elsewhere 9 to 20 o'clock.
//! It is no legal advice, and public holidays are not known: accounts can narrow it.

use super::{Day, Week};
use crate::phone::{Country, Phone};

/// Where nothing else is known: nobody minds the day.
const USUAL: Week = Week::daily(9, 20);
/// United States: 47 CFR 64.1200(c)(1), 8 a.m. to 9 p.m. of the called party's time.
const UNITED_STATES: Week = Week::daily(8, 21);
/// States that end an hour earlier: Florida (Fla. Stat. 501.059), Maryland, Mississippi, New Jersey, Oklahoma.
const EIGHT_TO_EIGHT: Week = Week::daily(8, 20);
/// Connecticut (Public Act 23-98).
const CONNECTICUT: Week = Week::daily(9, 20);
/// Texas (Bus. & Com. Code 301.051; texts since Senate Bill 140 of 2025).
const TEXAS: Week = Week::daily(9, 21).on(Day::Sun, 12, 21);
/// India: promotional SMS is blocked from 9 p.m. to 10 a.m. (TCCCPR 2018).
const INDIA: Week = Week::daily(10, 21);
/// France: carriers hold advertising back at night and on Sundays; what they name for Saturdays ends first at 19.
const FRANCE: Week = Week::daily(9, 20).on(Day::Sat, 10, 19).on(Day::Sun, 0, 0);

/// Area codes of states with hours of their own. Mobile numbers move with people: it is the best that a number tells.
const STATES: [(&[u16], Week); 3] = [
    (
        &[
            // Florida
            239, 305, 321, 324, 352, 386, 407, 448, 561, 645, 656, 689, 727, 728, 754, 772, 786, 813, 850, 863, 904,
            941, 954, // Maryland, Mississippi, New Jersey, Oklahoma
            227, 240, 301, 410, 443, 667, 228, 601, 662, 769, 201, 551, 609, 640, 732, 848, 856, 862, 908, 973, 405,
            539, 572, 580, 918,
        ],
        EIGHT_TO_EIGHT,
    ),
    (&[203, 475, 860, 959], CONNECTICUT),
    (
        &[
            210, 214, 254, 281, 325, 346, 361, 409, 430, 432, 469, 512, 682, 713, 726, 737, 806, 817, 830, 832, 903,
            915, 936, 940, 945, 956, 972, 979,
        ],
        TEXAS,
    ),
];

/// The hours in which advertising may go to a number of a country, in its local time.
pub fn customary(phone: Phone, country: Option<Country>) -> Week {
    match country.as_ref().map(Country::as_str) {
        Some("US") => united_states(phone),
        Some("IN") => INDIA,
        Some("FR") => FRANCE,
        _ => USUAL,
    }
}

fn united_states(phone: Phone) -> Week {
    // Eleven digits: 1, three of the area, seven.
    let area = (phone.digits() / 10_000_000 % 1_000) as u16;
    STATES.iter().find(|(areas, _)| areas.contains(&area)).map_or(UNITED_STATES, |(_, week)| *week)
}
