//! Terminal modes a client asks for (RFC 4254 section 8), set on the terminal of its session.

use russh::Pty;
use rustix::{
    fd::AsFd,
    termios::{
        ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr,
        tcsetattr,
    },
};

/// A client sends 255 for a control character it wants switched off; POSIX writes that as 0 on Linux.
const DISABLED: u32 = 255;

/// Sets what the client asked for; modes this machine does not know are left as they are.
pub(crate) fn set(terminal: impl AsFd, modes: &[(Pty, u32)]) -> rustix::io::Result<()> {
    let mut termios = tcgetattr(&terminal)?;
    for (mode, value) in modes {
        if !special_code(&mut termios, *mode, *value)
            && !input(&mut termios, *mode, *value)
            && !local(&mut termios, *mode, *value)
        {
            output_and_control(&mut termios, *mode, *value);
        }
    }
    tcsetattr(&terminal, OptionalActions::Now, &termios)
}

fn special_code(termios: &mut Termios, mode: Pty, value: u32) -> bool {
    let index = match mode {
        Pty::VINTR => SpecialCodeIndex::VINTR,
        Pty::VQUIT => SpecialCodeIndex::VQUIT,
        Pty::VERASE => SpecialCodeIndex::VERASE,
        Pty::VKILL => SpecialCodeIndex::VKILL,
        Pty::VEOF => SpecialCodeIndex::VEOF,
        Pty::VEOL => SpecialCodeIndex::VEOL,
        Pty::VEOL2 => SpecialCodeIndex::VEOL2,
        Pty::VSTART => SpecialCodeIndex::VSTART,
        Pty::VSTOP => SpecialCodeIndex::VSTOP,
        Pty::VSUSP => SpecialCodeIndex::VSUSP,
        Pty::VREPRINT => SpecialCodeIndex::VREPRINT,
        Pty::VWERASE => SpecialCodeIndex::VWERASE,
        Pty::VLNEXT => SpecialCodeIndex::VLNEXT,
        Pty::VDISCARD => SpecialCodeIndex::VDISCARD,
        _ => return false,
    };
    termios.special_codes[index] = if value == DISABLED { 0 } else { u8::try_from(value).unwrap_or(0) };
    true
}

fn input(termios: &mut Termios, mode: Pty, value: u32) -> bool {
    let flag = match mode {
        Pty::IGNPAR => InputModes::IGNPAR,
        Pty::PARMRK => InputModes::PARMRK,
        Pty::INPCK => InputModes::INPCK,
        Pty::ISTRIP => InputModes::ISTRIP,
        Pty::INLCR => InputModes::INLCR,
        Pty::IGNCR => InputModes::IGNCR,
        Pty::ICRNL => InputModes::ICRNL,
        Pty::IXON => InputModes::IXON,
        Pty::IXANY => InputModes::IXANY,
        Pty::IXOFF => InputModes::IXOFF,
        Pty::IMAXBEL => InputModes::IMAXBEL,
        Pty::IUTF8 => InputModes::IUTF8,
        _ => return false,
    };
    termios.input_modes.set(flag, value != 0);
    true
}

fn local(termios: &mut Termios, mode: Pty, value: u32) -> bool {
    let flag = match mode {
        Pty::ISIG => LocalModes::ISIG,
        Pty::ICANON => LocalModes::ICANON,
        Pty::ECHO => LocalModes::ECHO,
        Pty::ECHOE => LocalModes::ECHOE,
        Pty::ECHOK => LocalModes::ECHOK,
        Pty::ECHONL => LocalModes::ECHONL,
        Pty::NOFLSH => LocalModes::NOFLSH,
        Pty::TOSTOP => LocalModes::TOSTOP,
        Pty::IEXTEN => LocalModes::IEXTEN,
        Pty::ECHOCTL => LocalModes::ECHOCTL,
        Pty::ECHOKE => LocalModes::ECHOKE,
        _ => return false,
    };
    termios.local_modes.set(flag, value != 0);
    true
}

fn output_and_control(termios: &mut Termios, mode: Pty, value: u32) {
    match mode {
        Pty::OPOST => termios.output_modes.set(OutputModes::OPOST, value != 0),
        Pty::ONLCR => termios.output_modes.set(OutputModes::ONLCR, value != 0),
        Pty::OCRNL => termios.output_modes.set(OutputModes::OCRNL, value != 0),
        Pty::ONOCR => termios.output_modes.set(OutputModes::ONOCR, value != 0),
        Pty::ONLRET => termios.output_modes.set(OutputModes::ONLRET, value != 0),
        Pty::PARENB => termios.control_modes.set(ControlModes::PARENB, value != 0),
        Pty::PARODD => termios.control_modes.set(ControlModes::PARODD, value != 0),
        Pty::TTY_OP_ISPEED => {
            let _ = termios.set_input_speed(value);
        }
        Pty::TTY_OP_OSPEED => {
            let _ = termios.set_output_speed(value);
        }
        _ => {}
    }
}
